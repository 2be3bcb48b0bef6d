"""Where messages go: results to stdout, everything said to a person to stderr."""

from functools import lru_cache

from rich.console import Console


@lru_cache(maxsize=1)
def stderr() -> Console:
    return Console(stderr=True)


def say(message: str) -> None:
    """One line to a person; brackets in it are words, not markup."""
    stderr().print(message, markup=False, highlight=False, soft_wrap=True)
