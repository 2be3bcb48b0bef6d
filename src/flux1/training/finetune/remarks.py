"""Remarks on the pictures of a run: gathered by kind, counted, each by its name."""

from collections import defaultdict
from collections.abc import Iterator

from flux1.errors import printable

SHOWN = 5  # names in a line


class Remarks:
    """Kinds of remark and the names of what they are about, in the order in which they came."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, name: str) -> None:
        """The same remark about the same thing counts once."""
        if name not in self._names[kind]:
            self._names[kind].append(name)

    def __iter__(self) -> Iterator[str]:
        """One line for each kind: how many, what, and the first of them."""
        for kind, names in self._names.items():
            rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            shown = ", ".join(printable(name) for name in names[:SHOWN])
            yield f"{len(names)} {kind}: {shown}{rest}"

    def count(self, kind: str) -> int:
        return len(self._names.get(kind, ()))
