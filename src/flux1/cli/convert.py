"""`flux1 convert`: weights to another layout or number format, LoRAs merged in."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.cli.console import say, writing
from flux1.cli.inspect import size_shown
from flux1.cli.options import parse_lora

if TYPE_CHECKING:
    from flux1.weights.convert import Conversion


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A weight file, a folder, or a model's name.", metavar="IN", show_default=False
        ),
    ],
    place: Annotated[
        Path,
        typer.Argument(
            help="The file to write; a folder for diffusers.", metavar="OUT", show_default=False
        ),
    ],
    layout: Annotated[
        str, typer.Option("--to", help="bfl, diffusers, comfyui or gguf.", show_default=False)
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", "--force", help="Write over OUT.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object about the result on stdout.")
    ] = False,
) -> None:
    """Write the weights of IN to OUT in another layout or number format."""
    from flux1.settings import Settings, read
    from flux1.weights.convert import plan_conversion
    from flux1.weights.files.disk import unreadable

    uses = [parse_lora(use) for use in lora or []]
    try:
        plan = plan_conversion(
            source, place, layout, dtype, part, [(Path(use.name), use.scale) for use in uses],
            read(Settings).models, overwrite,
        )  # fmt: skip
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
