"""`flux1 convert`: weights to another layout or number format, LoRAs merged in."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.cli.console import say, writing
from flux1.cli.inspect import size_shown
from flux1.cli.options import AsJson, Overwrite, Quiet, parse_lora
from flux1.errors import OutputError, RequestError

if TYPE_CHECKING:
    from flux1.weights.convert import Conversion


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A weight file, a folder, a model's name, or the checkpoint.pt of a run.",
            metavar="IN",
            show_default=False,
        ),
    ],
    place: Annotated[
        Path,
        typer.Argument(
            help="The file to write; a folder for diffusers.", metavar="OUT", show_default=False
        ),
    ],
    layout: Annotated[
        str,
        typer.Option(
            "--to",
            help="bfl, diffusers, comfyui or gguf; a LoRA's checkpoint: also kohya.",
            show_default=False,
        ),
    ],
    dtype: Annotated[
        str | None,
        typer.Option(
            help="fp32, bf16, fp16, fp8, fp8_scaled, int8, nf4; gguf: q8_0, q5_1, q5_0, q4_1, q4_0",
            show_default="each tensor's own, bf16 for what is quantised",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="transformer, autoencoder, clip, t5 or bert.",
            show_default="the transformer for bfl and gguf, else all",
        ),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            help="A LoRA to merge in, with :SCALE if not 1. May be given again.",
            metavar="FILE[:SCALE]",
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the weights of IN to OUT in another layout or number format."""
    from flux1.settings import Settings, read
    from flux1.weights.convert import plan_conversion
    from flux1.weights.files.disk import unreadable

    uses = [parse_lora(use) for use in lora or []]
    method = _finetuned(source)
    if method == "lora":
        if part or uses:
            raise RequestError("part" if part else "lora", f"{source} is the checkpoint of a LoRA")
        _convert_lora(Path(source), place, layout, dtype, overwrite, quiet, as_json)
        return
    with _weights_of(source, place) if method else nullcontext(source) as weights:
        try:
            plan = plan_conversion(
                weights,
                place,
                layout,
                dtype,
                part,
                [(Path(use.name), use.scale) for use in uses],
                read(Settings).models,
                overwrite,
            )
        except OSError as failure:
            raise unreadable(failure) from failure
        if not quiet:
            for merged in plan.loras:
                say(str(merged))
        with writing(plan.bytes, show=not (quiet or as_json)) as advance:
            plan.write(advance)
    if as_json:
        typer.echo(json.dumps(_report(plan)))
    elif not quiet:
        kinds = ", ".join(f"{count} {kind}" for kind, count in plan.dtypes.items())
        say(f"{place}  {' + '.join(plan.kinds)}, {size_shown(plan.bytes)}: {kinds} tensors")


def _finetuned(source: str) -> str | None:
    """Return how the run learnt whose checkpoint this is: "lora" or "full"; None for anything
    else."""
    if not source.endswith(".pt"):
        return None
    from flux1.training.finetune.convert import method_of

    return method_of(Path(source))


@contextmanager
def _weights_of(source: str, place: Path) -> Iterator[str]:
    """The weights of a model's checkpoint, in a folder beside the place, for as long as this
    lasts."""
    from flux1.training.finetune.convert import checkpoint_to_folder

    try:
        beside = tempfile.TemporaryDirectory(dir=place.absolute().parent)
    except OSError as failure:
        raise OutputError(f"{place}: cannot be written: {failure.strerror}") from failure
    with beside as folder:
        checkpoint_to_folder(Path(source), Path(folder))
        yield folder


def _convert_lora(
    source: Path,
    place: Path,
    layout: str,
    dtype: str | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from flux1.training.finetune.convert import checkpoint_to_lora

    if place.exists() and not overwrite:
        raise OutputError(f"{place}: is there already; --overwrite writes over it")
    layers = checkpoint_to_lora(source, place, layout, dtype)
    if as_json:
        report = {"files": [str(place)], "layout": layout, "dtype": dtype or "kept"}
        typer.echo(json.dumps(report | {"modules": layers, "bytes": place.stat().st_size}))
    elif not quiet:
        say(f"{place}  a LoRA of {layers} layers, {size_shown(place.stat().st_size)}")


def _report(plan: "Conversion") -> dict[str, object]:
    return {
        "files": [str(target.file) for target in plan.targets],
        "layout": plan.layout,
        "dtype": plan.dtype,
        "parts": list(plan.kinds),
        "tensors": plan.dtypes,
        "bytes": plan.bytes,
        "loras": [
            {"file": str(lora.path), "modules": len(lora.deltas), "unused": list(lora.unused)}
            for lora in plan.loras
        ],
    }
