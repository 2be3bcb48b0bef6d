"""`flux1 export onnx`: a model's weights to graphs that run without torch."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flux1.cli.console import say, writing
from flux1.cli.inspect import size_shown
from flux1.cli.options import AsJson, Overwrite, Quiet
from flux1.errors import DependencyError
from flux1.variants import DEFAULT

if TYPE_CHECKING:
    from flux1.runtime.folder import Exported

app = typer.Typer(help="Take a model out of Python.", no_args_is_help=True)


@app.command("onnx")
def export_onnx(
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            help="Model name (see `flux1 models`), or a folder or file of weights.",
        ),
    ] = DEFAULT.id,
    dtype: Annotated[
        str,
        typer.Option(
            help="fp32 runs everywhere; fp16 and bf16 are for accelerators, int8 for processors.",
        ),
    ] = "fp32",
    opset: Annotated[
        int | None, typer.Option(help="ONNX's version of operators.", show_default="20")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a model's networks as ONNX graphs, with tokenizers and model_index.json."""
    from flux1.settings import Settings, read
    from flux1.weights.sources import locate

    source = locate(model, read(Settings).models)
    try:
        from flux1.export.onnx import OPSET, plan_export
    except ImportError as failure:
        raise DependencyError("export", failure.name, "export") from failure

    plan = plan_export(source, out, dtype, OPSET if opset is None else opset, overwrite)
    licence = source.variant.licence
    if not (quiet or licence.commercial_use):
        say(f"licence of these weights: {licence.name} ({licence.duties}); {licence.url}")
    with writing(plan.bytes, show=not (quiet or as_json)) as advance:
        exported = plan.write(advance)
    size = sum(exported.files.values())
    if as_json:
        typer.echo(json.dumps(_report(exported, out, dtype)))
    elif not quiet:
        say(f"{out}  {' + '.join(exported.components)}, {size_shown(size)} in {dtype}")


def _report(exported: "Exported", out: Path, dtype: str) -> dict[str, Any]:
    return {
        "folder": str(out),
        "model": exported.variant.id,
        "model_hash": exported.model_hash,
        "dtype": dtype,
        "opset": exported.opset,
        "components": exported.components,
        "files": exported.files,
        "bytes": sum(exported.files.values()),
    }
