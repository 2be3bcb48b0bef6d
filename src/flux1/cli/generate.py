"""`flux1 generate`: a prompt to picture files."""

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.cli.console import say, stderr
from flux1.cli.options import Device, Dtype, parse_lora, parse_size
from flux1.cli.runtimes import RUNTIMES, find_model
from flux1.presets import PRESETS
from flux1.request import SOLVERS, ImageRequest, make_request
from flux1.variants import DEFAULT, VARIANTS

if TYPE_CHECKING:
    from flux1.pipeline.pipeline import FluxPipeline
    from flux1.safety.provenance import Recipe


def _complete_model(incomplete: str) -> list[str]:
    return [v.id for v in VARIANTS if v.id.startswith(incomplete)]


def _complete_solver(incomplete: str) -> list[str]:
    return [s for s in SOLVERS if s.startswith(incomplete)]


def _complete_preset(incomplete: str) -> list[str]:
    return [row.id for row in PRESETS if row.id.startswith(incomplete)]


def _complete_runtime(incomplete: str) -> list[str]:
    return [name for name in RUNTIMES if name.startswith(incomplete)]


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Picture file: .png, .jpg or .webp. With -n, numbers are added before the suffix.",
        ),
    ] = Path("flux1.png"),
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            help="Model name (see `flux1 models`), or a folder or file of weights.",
            autocompletion=_complete_model,
        ),
    ] = DEFAULT.id,
    size: Annotated[
        str | None,
        typer.Option(help="WIDTHxHEIGHT in pixels.", metavar="WxH", show_default="the model's"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Solver steps.", show_default="the model's")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Embedded guidance scale of distilled models (FLUX.1 dev: 3.5). Costs nothing.",
            show_default="the model's",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Picture k of -n is drawn from seed + k.", show_default="random"),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--num-images", help="How many pictures.")] = 1,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What to move away from; needs --true-cfg above 1.")
    ] = None,
    true_cfg: Annotated[
        float | None,
        typer.Option(
            help="Classifier-free guidance scale; above 1 it doubles the work.",
            show_default="the model's",
        ),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(SOLVERS)}.",
            autocompletion=_complete_solver,
            show_default="the model's",
        ),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            help="A LoRA's file, with :SCALE if not 1. May be given again.", metavar="FILE[:SCALE]"
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help=f"Draw as another program does: {', '.join(row.id for row in PRESETS)}.",
            autocompletion=_complete_preset,
            show_default="flux1's own way",
        ),
    ] = None,
    upscale: Annotated[
        int | None,
        typer.Option(help="2 or 4: enlarge what was drawn.", show_default="as it was drawn"),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Hold no more than this, for example 6GB, of the card's memory or without one of "
            "this machine's; 'auto': what is free.",
            show_default="everything is loaded",
        ),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="torch, or onnx: draws without torch from the folder that `flux1 export onnx` "
            "wrote.",
            autocompletion=_complete_runtime,
        ),
    ] = "torch",
    provider: Annotated[
        str | None,
        typer.Option(
            help="With --runtime onnx: ONNX Runtime's execution provider, such as cuda or coreml.",
            show_default="cpu",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object about the result on stdout.")
    ] = False,
) -> None:
    """Draw PROMPT and write it to a picture file that carries its whole recipe."""
    if quiet:
        logging.getLogger("flux1").setLevel(logging.ERROR)
    started = time.perf_counter()
    width, height = parse_size(size)
    found = find_model(model, runtime, provider, device, dtype, memory)
    request = make_request(
        found.variant, prompt, negative_prompt=negative_prompt, width=width, height=height,
        steps=steps, guidance=guidance, true_cfg=true_cfg, seed=seed, num_images=count,
        solver=solver, loras=[parse_lora(use) for use in lora or []], like=like,
        upscale=upscale,
    )  # fmt: skip
    targets = _targets(output, request)
    pipeline = found.load(request)
    _check_storable(pipeline, request, targets[0])
    loaded = time.perf_counter()
    seeds, step_s = _draw(
        pipeline, request, targets, show=stderr().is_terminal and not (quiet or as_json)
    )
    finished = time.perf_counter()
    dropped, notes = pipeline.dropped(request), pipeline.notes(request)
    peak = found.peaks(pipeline)
    if as_json:
        timings = {
            "load_s": round(loaded - started, 3),
            "draw_s": round(finished - loaded, 3),
            "step_s": step_s,
        }
        images = [{"file": str(t), "seed": s} for t, s in zip(targets, seeds, strict=True)]
        report = {
            "images": images,
            "request": asdict(request),
            "model_hash": pipeline.origin.model_hash,
        }
        report |= {"dropped": dropped, "notes": notes, "timings": timings, "peak_bytes": peak}
        typer.echo(json.dumps(report))
    elif not quiet:
        for target, drawn in zip(targets, seeds, strict=True):
            say(f"{target}  seed {drawn}")
        if peak:
            from flux1.pipeline.memory import bytes_text

            told = ", ".join(f"{bytes_text(most)} of {what}" for what, most in peak.items())
            say(f"at most {told}")
    for note in () if quiet else notes:
        say(note)
    if dropped and not quiet:
        shown = dropped if len(dropped) <= 100 else f"{dropped[:100]}..."
        say(f"not read, beyond the encoder's length: {shown!r}")


def _targets(output: Path, request: ImageRequest) -> list[Path]:
    """The files to write; OutputError, before anything is drawn, if that could not be."""
    from flux1.safety.provenance import check_writable

    targets = [output]
    if request.num_images > 1:
        names = [f"{output.stem}-{k}{output.suffix}" for k in range(request.num_images)]
        targets = [output.with_name(name) for name in names]
    for target in targets:
        check_writable(target)
    return targets


def _check_storable(pipeline: "FluxPipeline", request: ImageRequest, target: Path) -> None:
    """Encode an empty picture: a format that cannot hold the size or the recipe fails now."""
    from PIL import Image

    from flux1.safety.provenance import encode_picture, format_for

    blank = Image.new("RGB", request.finished_size)
    encode_picture(blank, _recipe(pipeline, request, request.seed), format_for(target))


def _draw(
    pipeline: "FluxPipeline", request: ImageRequest, targets: list[Path], show: bool
) -> tuple[list[int], float | None]:
    """Draw with a progress bar (a tick per step of every picture). The seeds, and the seconds of a
    step (of all pictures together, without the first, before which prompts are encoded)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from flux1.events import Finished
    from flux1.safety.provenance import encode_picture, format_for, write_picture

    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    seeds: dict[int, int] = {}
    moments: list[float] = []
    with Progress(*columns, console=stderr(), disable=not show, transient=True) as progress:
        task = progress.add_task("", total=request.steps * request.num_images)
        for event in pipeline.stream([request]):
            if isinstance(event, Finished):
                target = targets[event.image]
                recipe = _recipe(pipeline, request, event.seed)
                write_picture(target, encode_picture(event.picture, recipe, format_for(target)))
                seeds[event.image] = event.seed
            else:
                progress.advance(task)
                if event.image == 0:
                    moments.append(time.perf_counter())
    steps = len(moments) - 1
    step_s = round((moments[-1] - moments[0]) / steps, 3) if steps else None
    return [seeds[i] for i in range(len(targets))], step_s


def _recipe(pipeline: "FluxPipeline", request: ImageRequest, seed: int) -> "Recipe":
    from flux1.safety.provenance import LoraRecord, recipe_of

    loaded = [(pipeline.loaded_lora(use.name), use.scale) for use in request.loras]
    records = tuple(LoraRecord(at.path.name, scale, at.sha256[:12]) for at, scale in loaded)
    return recipe_of(request, seed, pipeline.origin, records)
