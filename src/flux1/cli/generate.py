"""`flux1 generate`: a prompt to picture files."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flux1.cli.console import busy, say, stderr
from flux1.cli.drawing import Target, check_storable, draw, seeds_of
from flux1.cli.fields import with_options
from flux1.cli.options import Device, Dtype, knob_options, parse_lora, parse_size
from flux1.cli.picture_names import picture_files
from flux1.cli.prompts import read_prompts
from flux1.cli.runtimes import RUNTIMES, Pipeline, find_model, named_row
from flux1.presets import PRESETS
from flux1.request import ImageRequest, make_request
from flux1.variants import DEFAULT, VARIANTS, Variant


def _complete_model(incomplete: str) -> list[str]:
    return [v.id for v in VARIANTS if v.id.startswith(incomplete)]


def _complete_preset(incomplete: str) -> list[str]:
    return [row.id for row in PRESETS if row.id.startswith(incomplete)]


def _complete_runtime(incomplete: str) -> list[str]:
    return [name for name in RUNTIMES if name.startswith(incomplete)]


@with_options(knob_options(), after="count")
def generate(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="What to draw: a prompt, or several.", show_default=False),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="A file of more prompts, a line each; - reads standard input."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Picture file: .png, .jpg or .webp. {seed} and {n} are filled in; numbers are "
            "added before the suffix for several pictures, and where a file is there.",
        ),
    ] = Path("flux1.png"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write over pictures that are there.")
    ] = False,
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
    seed: Annotated[
        int | None,
        typer.Option(help="Picture k of -n is drawn from seed + k.", show_default="random"),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--num-images", help="How many of each prompt.")] = 1,
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
    **knobs: Any,
) -> None:
    """Draw PROMPT and write it to a picture file that carries its whole recipe."""
    if quiet:
        logging.getLogger("flux1").setLevel(logging.ERROR)
    started = time.perf_counter()
    width, height = parse_size(size)
    texts = read_prompts(prompt or [], prompts)
    asked = {
        "width": width,
        "height": height,
        "seed": seed,
        "num_images": count,
        "loras": [parse_lora(use) for use in lora or []],
        "like": like,
        **knobs,
    }
    shown = stderr().is_terminal and not (quiet or as_json)
    row = named_row(model)
    if row is not None:  # what is wrong is said before a library of networks is imported
        _targets(row, texts, asked, output, overwrite)
    with busy(f"loading {model}", shown):
        found = find_model(model, runtime, provider, device, dtype, memory)
        targets = _targets(found.variant, texts, asked, output, overwrite)
        requests = list(dict.fromkeys(one.request for one in targets))
        pipeline = found.load(requests)
        check_storable(pipeline, max(targets, key=lambda one: len(one.request.prompt)))
    loaded = time.perf_counter()
    step_s = draw(pipeline, targets, shown)
    times = {"load_s": loaded - started, "draw_s": time.perf_counter() - loaded, "step_s": step_s}
    peak, notes = found.peaks(pipeline), _notes(pipeline, requests)
    dropped = " ".join(filter(None, map(pipeline.dropped, requests)))
    if as_json:
        report = _report(targets, requests) | {"model_hash": pipeline.origin.model_hash}
        timings = {name: None if s is None else round(s, 3) for name, s in times.items()}
        report |= {"dropped": dropped, "notes": notes, "timings": timings, "peak_bytes": peak}
        typer.echo(json.dumps(report))
    elif not quiet:
        _tell(targets, output, peak)
    if not quiet:
        _tell_more(notes, dropped)


def _targets(
    variant: Variant,
    prompts: Sequence[str],
    asked: Mapping[str, Any],
    output: Path,
    overwrite: bool,
) -> list[Target]:
    """The pictures to draw; RequestError, or OutputError for a file that could not be written."""
    from flux1.safety.provenance import check_writable

    requests = [make_request(variant, prompt, **asked) for prompt in prompts]
    pictures = seeds_of(requests)
    files = picture_files(output, [seed for _, seed in pictures], overwrite)
    for file in files:
        check_writable(file)
    return [Target(file, *picture) for file, picture in zip(files, pictures, strict=True)]


def _report(targets: Sequence[Target], requests: Sequence[ImageRequest]) -> dict[str, Any]:
    """The `--json` object's files and requests."""
    images = [
        {"file": str(one.file), "seed": one.seed, "request": requests.index(one.request)}
        for one in targets
    ]
    return {"images": images, "requests": [asdict(request) for request in requests]}


def _tell(targets: Sequence[Target], output: Path, peak: Mapping[str, int]) -> None:
    for target in targets:
        say(f"{target.file}  seed {target.seed}")
    if len(targets) == 1 and output.is_file() and targets[0].file != output:
        say(f"{output} was there already and is kept; --overwrite replaces it")
    if peak:
        from flux1.pipeline.memory import bytes_text

        shown = ", ".join(f"{bytes_text(most)} of {what}" for what, most in peak.items())
        say(f"at most {shown}")


def _notes(pipeline: Pipeline, requests: Sequence[ImageRequest]) -> list[str]:
    return list(dict.fromkeys(note for request in requests for note in pipeline.notes(request)))


def _tell_more(notes: Sequence[str], dropped: str) -> None:
    """Say what else a person should know of the prompts."""
    for note in notes:
        say(note)
    if dropped:
        shown = dropped if len(dropped) <= 100 else f"{dropped[:100]}..."
        say(f"not read, beyond the encoder's length: {shown!r}")
