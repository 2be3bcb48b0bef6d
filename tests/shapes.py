"""What checks the shapes and types in signatures while the tests run."""

from collections.abc import Callable

from beartype import beartype


def check(function: Callable) -> Callable:
    """Check a function's arguments and answer, unless it is defined inside of another one: those
    would be prepared anew in every call of the outer one, which takes longer than what they do."""
    return function if "<locals>" in function.__qualname__ else beartype(function)
