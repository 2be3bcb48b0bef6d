"""What the training loop costs beside the step itself: `flux1 train lora` against a bare loop.

    python benchmarks/trainer.py --model flux-mini --threads 2

Both train the same LoRA on the same twelve pictures, in one process, in turns. The bare side has
one batch in memory and does nothing but forward, backward, clip and step. The loop's side is the
one that users run: it reads batches from the cache, averages weights, writes its log, checkpoints.
The share is bare time over loop time: 1 would be a loop that costs nothing. It is told by the clock
and by the processors' time; where other programs share the machine, the second is the one to trust.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from runpy import run_path

import torch
from rich.console import Console

from flux1.pipeline.pipeline import FluxPipeline
from flux1.training.distributed import ALONE
from flux1.training.finetune.cache import Cache, RememberedText
from flux1.training.finetune.captioned import CaptionedObjective
from flux1.training.finetune.encoded import EncodedPictures
from flux1.training.finetune.parts import Parts
from flux1.training.finetune.prepare import Preparation
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.settings import FinetuneSettings, Pictures, choose_settings
from flux1.training.loop import LoopSettings, optimizers_for, run
from flux1.weights.sources import locate
from machine import about, result_path

ZORB = run_path(str(Path(__file__).parents[1] / "examples" / "draw_zorb.py"))
STEPS, TURNS = 20, 5
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
    parts, cache = Parts(source, settings, device), Cache(folder / "cache", source.model_hash)
    ZORB["write"](folder / "pictures")
    console = Console(quiet=True)
    encoded = Preparation(Pictures(folder / "pictures"), parts, cache, Remarks(), console).encoded(
        ()
    )
    transformer = parts.transformer()
    learner = parts.lora(transformer)
    pipeline = FluxPipeline(
        source.variant, transformer, parts.autoencoder_shape(), RememberedText(cache),
        source.model_hash, "",
    )  # fmt: skip
    walk = EncodedPictures(encoded, settings.batch_size, 0, settings.caption_dropout, ALONE)
    return CaptionedObjective(learner, pipeline, walk, settings.guidance), settings


def loop_settings(settings: FinetuneSettings) -> LoopSettings:
    """As a user's run has them, but for the number of steps."""
    return LoopSettings(
        steps=10**6, batch_size=settings.batch_size, learning_rate=settings.learning_rate,
        matrix_learning_rate=settings.learning_rate, ema_decay=settings.ema_decay,
        log_every=10, checkpoint_every=STEPS, preview_every=10**6, precision=settings.precision,
    )  # fmt: skip


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="flux-mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--precision")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    machine, folder = about(), Path(tempfile.mkdtemp())
    given = {"batch_size": asked.batch_size, "precision": asked.precision}
    objective, chosen = objective_of(asked.model, folder, torch.device(asked.device), given)
    settings = loop_settings(chosen)
    bare(objective, settings, WARM)
    turns: list[dict[str, Moment]] = []
    for turn in range(asked.turns):
        turns.append(
            {
                "bare": bare(objective, settings),
                "loop": looped(objective, settings, folder / str(turn)),
            }
        )
    began = now()
    for step in range(BATCHES):
        objective.batch(step)
    reading = passed([began, now()])
    shutil.rmtree(folder)
    count = STEPS * settings.batch_size
    totals = {
        side: [sum(turn[side][kind] for turn in turns) for kind in (0, 1)]
        for side in ("bare", "loop")
    }
    result = {
        "machine": machine,
        "model": asked.model,
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        "steps_a_turn": STEPS,
        "share": {
            name: totals["bare"][kind] / totals["loop"][kind]
            for kind, name in enumerate(("clock", "processors"))
        },
        "share_of_each_turn": [
            [turn["bare"][kind] / turn["loop"][kind] for kind in (0, 1)] for turn in turns
        ],
        "images_per_s": {side: asked.turns * count / totals[side][0] for side in totals},
        "images_per_processor_s": {side: asked.turns * count / totals[side][1] for side in totals},
        "data_images_per_s": BATCHES * settings.batch_size / reading[0],
        "data_images_per_processor_s": BATCHES * settings.batch_size / reading[1],
        "seconds": turns,
    }
    path = result_path("trainer")
    path.write_text(json.dumps(result, indent=2) + "\n")
    print({name: value for name, value in result.items() if name not in ("machine", "seconds")})
    print(path)


if __name__ == "__main__":
    main()
