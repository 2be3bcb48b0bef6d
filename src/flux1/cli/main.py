"""The `flux1` command: one file per subcommand, joined here."""

import sys
from typing import Annotated

import typer

from flux1 import __version__
from flux1.cli import generate, info, models, train
from flux1.errors import Flux1Error

app = typer.Typer(
    name="flux1",
    help="Draw pictures from words with FLUX.1 models, and train them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate")(generate.generate)
app.command("info")(info.info)
app.command("models")(models.models)
app.command("train")(train.train)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"flux1 {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command. What the caller can mend is one line on stderr and exit status 2."""
    try:
        app()
    except Flux1Error as error:
        typer.echo(f"flux1: {error}", err=True)
        sys.exit(2)
