"""Models as ONNX graphs: are they the networks, what do they cost, how soon do they draw.

    python benchmarks/onnx_runtime.py                     # flux-mini, all parts, in minutes
    python benchmarks/onnx_runtime.py --parts cold --rounds 9
    python benchmarks/onnx_runtime.py --parts install     # makes an environment: fetches packages

Written to results/onnx-DATE.json. Each process that is measured is told apart by the system's own
account of it: wall time, processor time of all its threads, most memory at once.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import machine
from flux1 import FluxPipeline, make_request
from flux1.events import Finished
from flux1.export.onnx import DTYPES, plan_export
from flux1.export.parity import CASES, compare, levels_apart
from flux1.runtime.pipeline import OnnxPipeline
from flux1.runtime.sessions import CPU, Network
from flux1.weights.load import load_model
from flux1.weights.sources import locate

ROOT = Path(__file__).parents[1]
RUN = tuple(dtype for dtype in DTYPES if dtype != "bf16")  # on a processor
PROMPTS = (
    "a red fox on a blue background",
    "a castle to the left of a tree on a pink background",
    "three apples on a white background",
    "a flat owl on a green background",
    "a green robot above a yellow star on a black background",
    "a violet whale",
)
SIZES = ((128, 128), (96, 192), (256, 256))


def parity(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Components on random numbers, and whole pictures by their levels (of 255)."""
    networks, torchs = load_model(locate(model)), FluxPipeline.from_pretrained(model)
    found: dict[str, Any] = {"components": {}, "pictures": {}}
    for dtype in RUN:
        shares: dict[str, float] = {}
        for one in compare(networks, folders[dtype]):
            shares[one.component] = max(one.share, shares.get(one.component, 0.0))
        found["components"][dtype] = shares
    for dtype in RUN:
        pipeline = OnnxPipeline.from_folder(folders[dtype])
        apart = []
        for seed, prompt in enumerate(PROMPTS):
            width, height = SIZES[seed % len(SIZES)]
            request = make_request(
                torchs.variant, prompt, seed=seed, width=width, height=height, num_images=2
            )
            ours = [e.picture for e in pipeline.stream([request]) if isinstance(e, Finished)]
            theirs = torchs.draw(request).images
            apart += [levels_apart(a, b) for a, b in zip(theirs, ours, strict=True)]
        found["pictures"][dtype] = {
            "count": len(apart),
            "largest": max(int(one.max()) for one in apart),
            "mean": float(np.mean([one.mean() for one in apart])),
            "share_above_8": float(np.mean([(one > 8).mean() for one in apart])),
        }
    return found


def speed(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Milliseconds of one evaluation of the transformer, all sides in turn; and of a decode."""
    networks, source = load_model(locate(model)), locate(model)
    found: dict[str, Any] = {}
    for component in ("transformer", "vae"):
        *_, (inputs, answer) = CASES[component](networks, source.variant, np.random.default_rng(0))
        tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
        sides: dict[str, Callable[[], object]] = {"torch": partial(answer, tensors)}
        for dtype in RUN:
            exported = OnnxPipeline.from_folder(folders[dtype]).exported
            network = Network(folders[dtype], exported, component, CPU)
            sides[dtype] = partial(network, **inputs)
        times: dict[str, list[float]] = {side: [] for side in sides}
        with torch.inference_mode():
            for _ in range(3 + 5 * rounds):
                for side, run in sides.items():
                    start = time.perf_counter()
                    run()
                    times[side].append(1000 * (time.perf_counter() - start))
        found[component] = {
            "inputs": {name: value.shape for name, value in inputs.items()},
            "ms": {s: {"least": min(t[3:]), "median": statistics.median(t[3:])}
                   for s, t in times.items()},
        }  # fmt: skip
    return found


def cold(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """From a process's start to a picture in a file, files in the system's cache."""
    sides = {dtype: ["--runtime", "onnx", "--model", str(folders[dtype])] for dtype in RUN}
    sides["torch"] = ["--model", model]
    with tempfile.TemporaryDirectory() as place:
        words = ["generate", PROMPTS[0], "--seed", "1", "-o", f"{place}/fox.png"]
        return {
            side: _summary([_process("-m", "flux1", *words, *rest) for _ in range(rounds + 1)][1:])
            for side, rest in sides.items()
        }


def export(model: str, folders: dict[str, Path], rounds: int) -> dict[str, Any]:
    """`flux1 export onnx`, and what it leaves."""
    found = {}
    for dtype in DTYPES:
        with tempfile.TemporaryDirectory() as place:
            words = ["export", "onnx", "--model", model, "--dtype", dtype, "--out", f"{place}/x"]
            took = _summary([_process("-m", "flux1", *words)])
            files = {p.relative_to(place).as_posix(): p.stat().st_size
                     for p in Path(place).rglob("*") if p.is_file()}  # fmt: skip
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


PARTS = {"parity": parity, "speed": speed, "cold": cold, "export": export, "install": install}


def _process(*words: str) -> dict[str, float]:
    """Run Python with these words; what the system says of it."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(words)}")
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def _summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """The least and the median of the times, the most memory."""
    found = {"runs": len(runs), "peak_mib": max(run["peak_mib"] for run in runs)}
    for key in ("wall_s", "cpu_s"):
        times = [run[key] for run in runs]
        found |= {f"least_{key}": min(times), f"median_{key}": statistics.median(times)}
    return {key: round(value, 3) for key, value in found.items()}


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _folders(model: str, place: Path) -> Iterator[tuple[str, Path]]:
    for dtype in RUN:
        plan_export(locate(model), place / dtype, dtype).write()
        yield dtype, place / dtype


def main(
    model: Annotated[str, typer.Option(help="A small model: it is held in memory.")] = "flux-mini",
    parts: Annotated[str, typer.Option(help="Which parts, with commas between.")] = (
        "parity,speed,cold,export"
    ),
    rounds: Annotated[int, typer.Option(help="Of what is timed.")] = 7,
    label: Annotated[str, typer.Option(help="Added to the result file's name.")] = "",
) -> None:
    """Measure each part, print and write what was found."""
    result: dict[str, Any] = {"machine": machine.about(), "model": model}
    with tempfile.TemporaryDirectory() as place:
        folders = dict(_folders(model, Path(place)))
        for part in parts.split(","):
            result[part] = PARTS[part](model, folders, rounds)
            typer.echo(json.dumps({part: result[part]}, indent=1))
    file = machine.result_path("onnx", label)
    file.write_text(json.dumps(result, indent=1) + "\n")
    typer.echo(file)


if __name__ == "__main__":
    typer.run(main)
