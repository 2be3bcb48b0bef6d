"""The bars that a person sees while a model is loaded and drawn with: on a terminal or in a
notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def shown(console: Console, wanted: bool | None) -> bool:
    """Return whether a bar is shown: as it is wanted; for None, where a person looks on."""
    return console.is_terminal or console.is_jupyter if wanted is None else wanted


@contextmanager
def loading(what: str, wanted: bool | None) -> Iterator[None]:
    """A line on standard error that moves until the block ends."""
    console = Console(stderr=True)
    if not shown(console, wanted):
        yield
        return
    with console.status(f"loading {what}"):
        yield


@contextmanager
def drawing(steps: int, wanted: bool | None) -> Iterator[Callable[[], None]]:
    """A bar of so many steps on standard error; call what is given after each."""
    console = Console(stderr=True)
    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not shown(console, wanted)
    with Progress(*columns, console=console, disable=hidden, transient=True) as progress:
        task = progress.add_task("", total=steps)
        yield lambda: progress.advance(task)
