"""`flux1 download`: a published model's files."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flux1.cli.console import say, stderr
from flux1.cli.inspect import size_shown
from flux1.variants import VARIANTS, find

if TYPE_CHECKING:
    from flux1.weights.download import Download


def _complete_model(incomplete: str) -> list[str]:
    return [v.id for v in VARIANTS if v.repository and v.id.startswith(incomplete)]


def download(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's name (see `flux1 models`).",
            autocompletion=_complete_model,
            show_default=False,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched, and fetch nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object about the result on stdout.")
    ] = False,
) -> None:
    """Fetch MODEL from Hugging Face into FLUX1_MODELS/MODEL, or that library's cache.

    Run it again after an interruption: finished files stay.
    """
    from flux1.settings import Settings, read
    from flux1.weights.download import plan_download

    plan = plan_download(find(model), read(Settings).models)
    if not quiet:
        licence = plan.variant.licence
        place = plan.folder or "Hugging Face's cache"
        say(
            f"{plan.repository} to {place}: {len(plan.files)} files, {size_shown(plan.bytes)}, "
            f"{size_shown(plan.missing_bytes)} of them to fetch"
        )
        say(f"licence: {licence.name}, {licence.url}")
        if licence.duties:
            say(f"in short: {licence.duties}")
        if dry_run:
            for file in plan.files:
                here = "  (here)" if file.present else ""
                say(f"  {size_shown(file.size):>10}  {file.path}{here}")
    folder = plan.folder
    if not dry_run:
        folder = plan.fetch(show=stderr().is_terminal and not (quiet or as_json))
        if not quiet:
            say(f"{folder}: every file is what the site has")
            say(f'flux1 generate "a red fox" --model {plan.variant.id}')
    if as_json:
        typer.echo(json.dumps(_report(plan, folder, not dry_run)))


def _report(plan: "Download", folder: Path | None, fetched: bool) -> dict[str, Any]:
    return {
        "model": plan.variant.id,
        "repository": plan.repository,
        "commit": plan.commit,
        "folder": str(folder) if folder else None,
        "bytes": plan.bytes,
        "missing_bytes": plan.missing_bytes,
        "fetched": fetched,
        "files": [asdict(file) for file in plan.files],
    }
