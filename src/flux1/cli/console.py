"""Print results to stdout, everything said to a person to stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from rich.console import Console

from flux1.errors import printable


@lru_cache(maxsize=1)
def stderr() -> Console:
    return Console(stderr=True)


def shown(text: str) -> str:
    """A text as it may go to a terminal: its lines stay, other control characters, which names in
    foreign files may hold, are spelled out."""
    return "\n".join(map(printable, text.split("\n")))


def say(message: str) -> None:
    """One line to a person; brackets in it are words, not markup."""
    stderr().print(shown(message), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def busy(what: str, show: bool) -> Iterator[None]:
    """A line that moves on a terminal while something takes long, if it is to be shown."""
    if not (show and stderr().is_terminal):
        yield
        return
    with stderr().status(what):
        yield


@contextmanager
def writing(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on a terminal, if it is to be shown; call what is given with those written."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("writing"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    hidden = not (show and stderr().is_terminal)
    with Progress(*columns, console=stderr(), disable=hidden, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda size: progress.advance(task, size)
