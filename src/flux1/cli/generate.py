"""`flux1 generate`: a prompt to picture files."""

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.cli.console import say, stderr
from flux1.cli.options import Device, Dtype, parse_lora
from flux1.errors import RequestError
from flux1.request import SOLVERS, ImageRequest, make_request
from flux1.variants import DEFAULT, VARIANTS

if TYPE_CHECKING:
    from flux1.pipeline.pipeline import FluxPipeline
    from flux1.safety.provenance import Recipe


def _complete_model(incomplete: str) -> list[str]:
    return [v.id for v in VARIANTS if v.id.startswith(incomplete)]


def _complete_solver(incomplete: str) -> list[str]:
    return [s for s in SOLVERS if s.startswith(incomplete)]


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
    device: Device = None,
    dtype: Dtype = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object about the result on stdout.")
    ] = False,
) -> None:
    """Draw PROMPT and write it to a picture file that carries its whole recipe."""
    from flux1.settings import Settings, read
    from flux1.weights.sources import locate

    if quiet:
        logging.getLogger("flux1").setLevel(logging.ERROR)
    started = time.perf_counter()
    width, height = _parse_size(size)
    source = locate(model, read(Settings).models)
    request = make_request(
        source.variant, prompt, negative_prompt=negative_prompt, width=width, height=height,
        steps=steps, guidance=guidance, true_cfg=true_cfg, seed=seed, num_images=count,
        solver=solver, loras=[parse_lora(use) for use in lora or []],
    )  # fmt: skip
    targets = _targets(output, request)

    from flux1.pipeline.load import load_source
    from flux1.weights.lora import read_lora

    for use in request.loras:  # what is wrong with one is said before a model is loaded
        read_lora(Path(use.name), source.variant.transformer)
    pipeline = load_source(source, device=device, dtype=dtype)
    for use in request.loras:
        pipeline.load_lora(use.name)
    _check_storable(pipeline, request, targets[0])
    loaded = time.perf_counter()
    seeds = _draw(pipeline, request, targets, show=stderr().is_terminal and not (quiet or as_json))
    finished = time.perf_counter()
    dropped = pipeline.dropped(request)
    if as_json:
        timings = {"load_s": round(loaded - started, 3), "draw_s": round(finished - loaded, 3)}
        images = [{"file": str(t), "seed": s} for t, s in zip(targets, seeds, strict=True)]
        report = {"images": images, "request": asdict(request), "model_hash": pipeline.model_hash}
        typer.echo(json.dumps({**report, "dropped": dropped, "timings": timings}))
    elif not quiet:
        for target, drawn in zip(targets, seeds, strict=True):
            say(f"{target}  seed {drawn}")
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

    blank = Image.new("RGB", (request.width, request.height))
    encode_picture(blank, _recipe(pipeline, request, request.seed), format_for(target))


def _draw(
    pipeline: "FluxPipeline", request: ImageRequest, targets: list[Path], show: bool
) -> list[int]:
    """Draw with a progress bar (a tick per step of every picture); returns the seeds."""
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
    return [seeds[i] for i in range(len(targets))]


def _recipe(pipeline: "FluxPipeline", request: ImageRequest, seed: int) -> "Recipe":
    from flux1.safety.provenance import LoraRecord, recipe_of

    loaded = [(pipeline.loaded_lora(use.name), use.scale) for use in request.loras]
    return recipe_of(
        request,
        seed,
        pipeline.model_hash,
        str(pipeline.device),
        str(pipeline.dtype).removeprefix("torch."),
        tuple(LoraRecord(at.path.name, scale, at.sha256[:12]) for at, scale in loaded),
    )


def _parse_size(size: str | None) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    width, cross, height = size.lower().partition("x")
    digits = cross and width.isdecimal() and height.isdecimal()
    if not digits or max(len(width), len(height)) > 9:
        raise RequestError("size", f"{size!r} is not WIDTHxHEIGHT; for example 1024x768")
    return int(width), int(height)
