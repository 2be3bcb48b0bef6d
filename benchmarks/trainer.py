"""What the training loop costs beside the step itself: `flux1 train lora` against a bare loop.

    python benchmarks/trainer.py --model flux-mini --threads 2

Both train the same LoRA on the same twelve pictures, in one process, in turns. The bare side has
one batch in memory and does nothing but forward, backward, clip and step. The loop's side is the
one that users run: it reads batches from the cache, averages weights, writes its log, checkpoints.
The share is bare time over loop time: 1 would be a loop that costs nothing. It is told by the clock
and by the processors' time; where other programs share the machine, the second is the one to trust.
"""

import json
import tempfile
import time
from pathlib import Path
from runpy import run_path
from typing import Annotated

import torch
import typer
from rich.console import Console

from flux1.pipeline.loaded import Loaded
from flux1.training.distributed import ALONE
from flux1.training.finetune.base_networks import BaseNetworks
from flux1.training.finetune.cache import Cache, RememberedText
from flux1.training.finetune.captioned import CaptionedObjective
from flux1.training.finetune.choose import choose_settings
from flux1.training.finetune.encoded import EncodedPictures
from flux1.training.finetune.prepare import Preparation
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.settings import FinetuneSettings, Pictures
from flux1.training.loop import LoopSettings, optimizers_for, run
from flux1.weights.sources import locate
from measure.machine import Threads, about, use_threads
from measure.results import RESULTS, Label, Out, result_path, write_result
from measure.turns import paired_median

ZORB = run_path(str(Path(__file__).parents[1] / "examples" / "draw_zorb.py"))
STEPS = 20  # a turn
WARM = 3  # steps that are not counted
BATCHES = 100  # that are read for the data's own rate
Moment = tuple[float, float]  # seconds by the clock, and of the processors


def now() -> Moment:
    return time.perf_counter(), time.process_time()


def passed(moments: list[Moment]) -> Moment:
    """From the first to the last."""
    (clock, work), (later, more) = moments[0], moments[-1]
    return later - clock, more - work


def objective_of(
    model: str, folder: Path, device: torch.device, given: dict
) -> tuple[CaptionedObjective, FinetuneSettings]:
    source = locate(model)
    settings = choose_settings(source.variant, torch.float32, **given)
    parts, cache = (
        BaseNetworks(source, settings, device),
        Cache(folder / "cache", source.model_hash),
    )
    ZORB["write"](folder / "pictures")
    console = Console(quiet=True)
    encoded = Preparation(
        Pictures((folder / "pictures",)), parts, cache, Remarks(), console
    ).encoded(())
    transformer = parts.transformer()
    learner = parts.lora(transformer)
    networks = Loaded(source.variant, transformer, parts.autoencoder_shape(), RememberedText(cache))
    walk = EncodedPictures(encoded, settings.batch_size, 0, settings.caption_dropout, ALONE)
    return CaptionedObjective(learner, networks, walk, settings.guidance), settings


def loop_settings(settings: FinetuneSettings) -> LoopSettings:
    """As a user's run has them, but for the number of steps."""
    return LoopSettings(
        steps=10**6,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        matrix_learning_rate=settings.learning_rate,
        ema_decay=settings.ema_decay,
        log_every=10,
        checkpoint_every=STEPS,
        preview_every=10**6,
        precision=settings.precision,
    )


def bare(objective: CaptionedObjective, settings: LoopSettings, steps: int = STEPS) -> Moment:
    """Seconds of so many steps."""
    (optimizer,) = optimizers_for(objective, settings)
    parameters = list(objective.model.parameters())
    batch, generator = objective.batch(0), torch.Generator().manual_seed(0)
    narrow, moments = settings.precision == "bfloat16", [now()]
    for _ in range(steps):
        with torch.autocast(parameters[0].device.type, torch.bfloat16, enabled=narrow):
            loss, _ = objective.loss(batch, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the device
        moments.append(now())
    return passed(moments)


def looped(objective: CaptionedObjective, settings: LoopSettings, folder: Path) -> Moment:
    """Seconds of as many steps after the first, one checkpoint among them."""
    moments: list[Moment] = []

    def last() -> bool:
        moments.append(now())
        return len(moments) > STEPS

    run(objective, settings, folder, Console(quiet=True), last)
    return passed(moments)


def main(
    model: Annotated[str, typer.Option(help="What is trained.")] = "flux-mini",
    device: Annotated[str, typer.Option(help="Where.")] = "cpu",
    threads: Threads = 2,
    turns: Annotated[int, typer.Option(min=1, help="Of each side.")] = 5,
    batch_size: Annotated[int | None, typer.Option(help="As for `flux1 train lora`.")] = None,
    precision: Annotated[str | None, typer.Option(help="As for `flux1 train lora`.")] = None,
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Train in turns, then read batches alone; print and write the shares."""
    use_threads(threads)
    machine, given = about(), {"batch_size": batch_size, "precision": precision}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        objective, chosen = objective_of(model, folder, torch.device(device), given)
        settings = loop_settings(chosen)
        bare(objective, settings, WARM)
        sides = [
            (bare(objective, settings), looped(objective, settings, folder / str(turn)))
            for turn in range(turns)
        ]
        moments = [now()]
        for step in range(BATCHES):
            objective.batch(step)
        reading = passed([*moments, now()])
    figures = {
        "model": model,
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        "steps_a_turn": STEPS,
        **rates(sides, settings.batch_size),
        "data_images_per_s": BATCHES * settings.batch_size / reading[0],
        "data_images_per_processor_s": BATCHES * settings.batch_size / reading[1],
    }
    print(json.dumps(figures, indent=1))
    figures["seconds"] = [{"bare": plain, "loop": loop} for plain, loop in sides]
    write_result(result_path("trainer", label, out), machine, figures)


def rates(sides: list[tuple[Moment, Moment]], batch_size: int) -> dict:
    """Bare over loop in each turn and in the middle, and pictures a second of both."""
    shares = [
        paired_median([bare[kind] for bare, _ in sides], [loop[kind] for _, loop in sides])
        for kind in (0, 1)
    ]
    pictures = len(sides) * STEPS * batch_size
    totals = [[sum(side[at][kind] for side in sides) for kind in (0, 1)] for at in (0, 1)]
    names = ("bare", "loop")
    return {
        "share": dict(zip(("clock", "processors"), shares, strict=True)),
        "share_of_each_turn": [[b / a for b, a in zip(*side, strict=True)] for side in sides],
        "images_per_s": {n: pictures / clock for n, (clock, _) in zip(names, totals, strict=True)},
        "images_per_processor_s": {
            n: pictures / busy for n, (_, busy) in zip(names, totals, strict=True)
        },
    }


if __name__ == "__main__":
    typer.run(main)
