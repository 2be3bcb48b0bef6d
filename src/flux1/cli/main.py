"""The `flux1` command: one file per subcommand, joined here."""

import signal
import sys
from typing import Annotated, NoReturn

import typer

from flux1 import __version__
from flux1.cli import (
    convert,
    download,
    export,
    generate,
    info,
    inspect,
    keys,
    models,
    plan,
    serve,
    train,
    upscale,
    users,
    words,
)
from flux1.errors import DependencyError, Flux1Error, printable

# click's own class, wherever this typer keeps its click
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="flux1",
    help="Draw pictures from words with FLUX.1 models, serve them, and train them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate")(generate.generate)
app.command("upscale")(upscale.upscale)
app.command("info")(info.info)
app.command("models")(models.models)
app.command("words")(words.words)
app.add_typer(plan.app, name="plan")
app.command("inspect")(inspect.inspect)
app.command("convert")(convert.convert)
app.command("download")(download.download)
app.add_typer(export.app, name="export")
app.add_typer(train.app, name="train")
app.command("serve")(serve.serve)
app.add_typer(keys.app, name="keys")
app.add_typer(users.app, name="users")


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
    leave_on_sigterm()
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except _UsageError as wrong:
        _fail(getattr(wrong, "format_message", wrong.__str__)())
    except Flux1Error as error:
        _fail(str(error))
    except ModuleNotFoundError as missing:
        _fail(_install_line(missing))
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads any more; the interpreter would say so again
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror}")
    sys.exit(code if isinstance(code, int) else 0)


def _install_line(missing: ModuleNotFoundError) -> str:
    """Return how to get a library that every whole installation has; extras' are named by who
    needs them. A module of our own that is missing is a mistake of ours."""
    library = (missing.name or "").partition(".")[0]
    if library == "flux1":
        raise missing
    return str(DependencyError(f"flux1 {' '.join(sys.argv[1:2])}", library, None))


def leave_on_sigterm() -> None:
    """Whoever ends the process with SIGTERM ends it as Ctrl-C does: nothing half-written stays."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def _fail(message: str) -> NoReturn:
    typer.echo(f"flux1: {printable(' '.join(message.split()))}", err=True)
    sys.exit(2)
