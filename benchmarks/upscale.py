"""How long enlarging takes: 256x256 to 1024x1024 and 512x512, by torch and by ONNX Runtime.

    python benchmarks/upscale.py --threads 2

Written to results/upscale-DATE.json.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image

from flux1.export.onnx import plan_export
from flux1.export.parity import levels_apart
from flux1.model.tiles import enlarged
from flux1.pipeline.upscale import upscale
from flux1.runtime.folder import read_folder
from flux1.runtime.sessions import CPU, OnnxNetwork
from flux1.weights.sources import locate
from flux1.weights.upscaler import CONFIG
from measure.machine import Threads, about, use_threads
from measure.results import RESULTS, Label, Out, result_path, write_result
from measure.turns import take_turns


def main(
    side: int = 256, rounds: int = 9, threads: Threads = 0, label: Label = "", out: Out = RESULTS
) -> None:
    """Enlarge a picture of random patches, all sides in turn."""
    use_threads(threads)
    machine = about()
    patches = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    picture = Image.fromarray(patches).resize((side, side), Image.Resampling.BICUBIC)
    with tempfile.TemporaryDirectory() as place:
        plan_export(locate("tiny"), Path(place)).write()
        graph = OnnxNetwork(Path(place), read_folder(Path(place)), "upscaler", CPU)

    def by_onnx(scale: int) -> Image.Image:
        levels = enlarged(np.asarray(picture), scale, lambda x: graph(pixels=x)[0], CONFIG)
        return Image.fromarray(levels)

    by_torch = partial(upscale, picture, device=torch.device("cpu"))
    sides = {
        f"{name} x{scale}": partial(run, scale=scale)
        for scale in (4, 2)
        for name, run in (("torch", by_torch), ("onnx", by_onnx))
    }
    times = take_turns(sides, rounds, warm=1)
    apart = levels_apart(by_torch(scale=4), by_onnx(4))
    figures = {
        "side": side,
        "rounds": rounds,
        "times": {name: one.milliseconds() for name, one in times.items()},
        "largest_difference_in_levels": int(apart.max()),
    }
    write_result(result_path("upscale", label, out), machine, figures)


if __name__ == "__main__":
    typer.run(main)
