"""What the training loop costs beside the step itself: `flux1 train lora` against a bare loop.

    python benchmarks/trainer.py --model flux-mini --threads 2

Both train the same LoRA on the same twelve pictures, in one process, in turns. The bare side has
one batch in memory and does nothing but forward, backward, clip and step. The loop's side is the
one that users run: it reads batches from the cache, averages weights, writes its log, checkpoints.
The share is bare time over loop time, of the medians: 1 would be a loop that costs nothing.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from rich.console import Console

from flux1.pipeline.pipeline import FluxPipeline
from flux1.training.cache import Cache, RememberedText
from flux1.training.captioned import CaptionedObjective
from flux1.training.distributed import ALONE
from flux1.training.encoded import EncodedPictures
from flux1.training.finetune_settings import FinetuneSettings, Pictures, choose_settings
from flux1.training.loop import LoopSettings, optimizers_for, run
from flux1.training.parts import Parts
from flux1.training.prepare import Preparation
from flux1.training.remarks import Remarks
from flux1.weights.sources import locate
from machine import about, result_path
from new_object import write_pictures

STEPS, TURNS = 20, 5


def objective_of(
    model: str, folder: Path, device: torch.device, given: dict
) -> tuple[CaptionedObjective, FinetuneSettings]:
    source = locate(model)
    settings = choose_settings(source.variant, torch.float32, **given)
    parts, cache = Parts(source, settings, device), Cache(folder / "cache", source.model_hash)
    write_pictures(folder / "pictures")
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


def bare(objective: CaptionedObjective, settings: LoopSettings) -> list[float]:
    """Seconds of each step."""
    (optimizer,) = optimizers_for(objective, settings)
    parameters = list(objective.model.parameters())
    batch, generator = objective.batch(0), torch.Generator().manual_seed(0)
    narrow, moments = settings.precision == "bfloat16", [time.perf_counter()]
    for _ in range(STEPS):
        with torch.autocast(parameters[0].device.type, torch.bfloat16, enabled=narrow):
            loss, _ = objective.loss(batch, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the device
        moments.append(time.perf_counter())
    return [after - before for before, after in pairwise(moments)]


def looped(objective: CaptionedObjective, settings: LoopSettings, folder: Path) -> list[float]:
    """Seconds of each step after the first, the checkpoint at the end among them."""
    moments: list[float] = []

    def last() -> bool:
        moments.append(time.perf_counter())
        return len(moments) > STEPS

    run(objective, settings, folder, Console(quiet=True), last)
    return [after - before for before, after in pairwise(moments)]


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
    bare(objective, settings)  # warms up
    times: dict[str, list[float]] = {"bare": [], "loop": []}
    shares = []
    for turn in range(asked.turns):
        one, other = bare(objective, settings), looped(objective, settings, folder / str(turn))
        times["bare"] += one
        times["loop"] += other
        shares.append(sum(one) / sum(other))
    began = time.perf_counter()
    for step in range(200):
        objective.batch(step)
    data_rate = 200 * settings.batch_size / (time.perf_counter() - began)
    shutil.rmtree(folder)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    result = {
        "machine": machine,
        "model": asked.model,
        "batch_size": settings.batch_size,
        "precision": settings.precision,
        "seconds_a_step": medians,
        "images_per_s": {name: settings.batch_size / one for name, one in medians.items()},
        "share_of_medians": medians["bare"] / medians["loop"],
        "share_of_each_turn": shares,
        "data_images_per_s": data_rate,
        "times": times,
    }
    path = result_path("trainer")
    path.write_text(json.dumps(result, indent=2) + "\n")
    print({name: value for name, value in result.items() if name not in ("machine", "times")})
    print(path)


if __name__ == "__main__":
    main()
