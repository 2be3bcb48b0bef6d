"""Running out of memory, said in one line wherever it happens."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flux1.errors import Flux1Error


@contextmanager
def told_out_of_memory(doing: str) -> Iterator[None]:
    """Flux1Error with advice in place of an allocator's failure; other errors pass."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as failure:
        known = isinstance(failure, (torch.OutOfMemoryError, MemoryError))
        if not known and "allocate memory" not in str(failure):  # the CPU allocator's own words
            raise
        raise Flux1Error(
            f"out of memory while {doing}; draw a smaller size or fewer pictures at once"
        ) from failure
