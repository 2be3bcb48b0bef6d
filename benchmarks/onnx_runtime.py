"""Models as ONNX graphs: are they the networks, what do they cost, how soon do they draw.

    python benchmarks/onnx_runtime.py                     # flux-mini, all parts, in minutes
    python benchmarks/onnx_runtime.py --parts cold --rounds 9
    python benchmarks/onnx_runtime.py --parts install     # makes an environment: fetches packages

Written to results/onnx-DATE.json. Each process that is measured is told apart by the system's own
account of it: wall time, processor time of all its threads, most memory at once.
"""

import json
import subprocess
import tempfile
import venv
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from flux1 import FluxPipeline, make_request
from flux1.events import Finished
from flux1.export.onnx import DTYPES, plan_export
from flux1.export.parity import CASES, compare, levels_apart
from flux1.flow.schedule import sampling_times, shift_mu
from flux1.runtime.noise import initial_noise
from flux1.runtime.patches import pack
from flux1.runtime.pipeline import OnnxPipeline
from flux1.runtime.sessions import CPU, OnnxNetwork
from flux1.weights.load import load_model
from flux1.weights.sources import locate
from measure.machine import about
from measure.processes import run_python, summary
from measure.results import RESULTS, Label, Out, result_path, write_result
from measure.turns import take_turns

ROOT = Path(__file__).parents[1]
PROMPTS = (
    "a red fox on a blue background",
    "a castle to the left of a tree on a pink background",
    "three apples on a white background",
    "a flat owl on a green background",
    "a green robot above a yellow star on a black background",
    "a violet whale",
)
SIZES = ((256, 256), (192, 384), (512, 512))


def parity(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Components on random numbers, and whole pictures by their levels (of 255)."""
    networks, torchs = load_model(locate(model)), FluxPipeline.from_pretrained(model)
    found: dict[str, Any] = {"components": {}, "pictures": {}}
    for dtype in folders:
        shares: dict[str, float] = {}
        for one in compare(networks, folders[dtype]):
            shares[one.component] = max(one.share, shares.get(one.component, 0.0))
        found["components"][dtype] = shares
    requests, theirs = [], []
    for seed, prompt in enumerate(PROMPTS[:rounds]):
        width, height = SIZES[seed % len(SIZES)]
        sized = {"width": width, "height": height}
        requests.append(make_request(torchs.variant, prompt, seed=seed, num_images=2, **sized))
        theirs += torchs.draw(requests[-1]).images
    for dtype in folders:
        events = OnnxPipeline.from_folder(folders[dtype]).stream(requests)
        ours = [event.picture for event in events if isinstance(event, Finished)]
        apart = [levels_apart(a, b) for a, b in zip(theirs, ours, strict=True)]
        squares = np.mean([np.mean(one.astype(np.float64) ** 2) for one in apart])
        brightness = np.mean([np.mean(np.asarray(one, np.float64) ** 2) for one in theirs])
        found["pictures"][dtype] = {
            "count": len(apart),
            "largest": max(int(one.max()) for one in apart),
            "mean": float(np.mean([one.mean() for one in apart])),
            "rms": float(np.sqrt(squares)),
            "relative_rms": float(np.sqrt(squares / brightness)),
            "share_above_8": float(np.mean([(one > 8).mean() for one in apart])),
        }
    return found


def velocity(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """How far velocities are from float32's, at the places where that one's pictures pass: the
    root of the mean square, as a share of float32's own; the mean of all steps and the worst."""
    pipelines = {dtype: OnnxPipeline.from_folder(folders[dtype]) for dtype in folders}
    variant = pipelines["fp32"].variant
    shares: dict[str, list[float]] = {dtype: [] for dtype in folders if dtype != "fp32"}
    for seed, prompt in enumerate(PROMPTS[:rounds]):
        request = make_request(variant, prompt, seed=seed)
        fields = {dtype: one.field(request) for dtype, one in pipelines.items()}
        rows, columns = (side // variant.size_multiple for side in (request.height, request.width))
        channels = variant.autoencoder.latent_channels
        x = pack(initial_noise(seed, channels, 2 * rows, 2 * columns)[None])
        for t, s in pairwise(sampling_times(request.steps, shift_mu(rows * columns))):
            v = fields["fp32"](x, t)
            for dtype, found in shares.items():
                found.append(
                    float(np.sqrt(np.mean((fields[dtype](x, t) - v) ** 2 / np.mean(v**2))))
                )
            x = x + (s - t) * v
    return {d: {"mean": float(np.mean(f)), "worst": max(f)} for d, f in shares.items()}


def speed(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Milliseconds of one evaluation of the transformer, all sides in turn; and of a decode: on the
    clock, and of all threads' processor time, which other work on the machine disturbs less."""
    networks, source = load_model(locate(model)), locate(model)
    found: dict[str, Any] = {}
    for component in ("transformer", "vae"):
        *_, (inputs, answer) = CASES[component](networks, source.variant, np.random.default_rng(0))
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        sides: dict[str, Callable[[], object]] = {"torch": partial(answer, tensors)}
        for dtype in folders:
            exported = OnnxPipeline.from_folder(folders[dtype]).exported
            network = OnnxNetwork(folders[dtype], exported, component, CPU)
            sides[dtype] = partial(network, **inputs)
        with torch.inference_mode():
            times = take_turns(sides, 5 * rounds, warm=3)
        found[component] = {"inputs": {name: value.shape for name, value in inputs.items()}}
        found[component] |= {side: taken.milliseconds() for side, taken in times.items()}
    return found


def cold(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """From a process's start to a picture in a file, files in the system's cache."""
    sides = {dtype: ["--runtime", "onnx", "--model", str(folders[dtype])] for dtype in folders}
    sides["torch"] = ["--model", model]
    with tempfile.TemporaryDirectory() as place:
        words = ["generate", PROMPTS[0], "--seed", "1", "-o", f"{place}/fox.png"]
        return {
            side: summary([run_python("-m", "flux1", *words, *rest) for _ in range(rounds + 1)][1:])
            for side, rest in sides.items()
        }


def export(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """`flux1 export onnx`, and what it leaves."""
    found = {}
    for dtype in DTYPES:
        with tempfile.TemporaryDirectory() as place:
            words = ["export", "onnx", "--model", model, "--dtype", dtype, "--out", f"{place}/x"]
            took = summary([run_python("-m", "flux1", *words)])
            files = {
                p.relative_to(place).as_posix(): p.stat().st_size
                for p in Path(place).rglob("*")
                if p.is_file()
            }
        found[dtype] = took | {"bytes": sum(files.values()), "files": files}
    return found


def install(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """The documented install without torch, in an environment of its own, which then draws."""
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = f"{place}/bin/python"
        pip = [python, "-m", "pip", "install", "-q"]
        needs = ["-c", "constraints.txt", "-r", "requirements-onnx.txt"]
        bare = _bytes(Path(place))
        subprocess.run([*pip, *needs], cwd=ROOT, check=True)
        subprocess.run([*pip, "--no-deps", "."], cwd=ROOT, check=True)
        words = ["generate", PROMPTS[0], "--runtime", "onnx", "--model", str(folders["fp32"])]
        draw = [python, "-m", "flux1", *words, "--seed", "1", "-q", "-o", f"{place}/fox.png"]
        subprocess.run(draw, cwd=place, check=True)
        return {"bytes": _bytes(Path(place)), "of_them_python_and_pip": bare}


PARTS = {
    "parity": parity,
    "velocity": velocity,
    "speed": speed,
    "cold": cold,
    "export": export,
    "install": install,
}


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _folders(model: str, dtypes: str, place: Path) -> Iterator[tuple[str, Path]]:
    for dtype in dtypes.split(","):
        plan_export(locate(model), place / dtype, dtype).write()
        yield dtype, place / dtype


def main(
    model: Annotated[str, typer.Option(help="A small model: it is held in memory.")] = "flux-mini",
    parts: Annotated[str, typer.Option(help="Which parts, with commas between.")] = (
        "parity,velocity,speed,cold,export"
    ),
    dtypes: Annotated[str, typer.Option(help="fp32 and others, with commas.")] = "fp32,fp16,int8",
    rounds: Annotated[int, typer.Option(help="Of what is timed; prompts that are drawn.")] = 6,
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Measure each part, print and write what was found."""
    machine = about()
    figures: dict[str, Any] = {"model": model}
    with tempfile.TemporaryDirectory() as place:
        folders = dict(_folders(model, dtypes, Path(place)))
        for part in parts.split(","):
            figures[part] = PARTS[part](model, folders, rounds)
            typer.echo(json.dumps({part: figures[part]}, indent=1))
    write_result(result_path("onnx", label, out), machine, figures)


if __name__ == "__main__":
    typer.run(main)
