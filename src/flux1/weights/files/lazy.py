"""Tensors computed when asked for, so a 24 GB file passes through memory one tensor at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor

from flux1.weights.files.dtypes import WORDS

Rows = slice | Int[Tensor, " n"]
EVERY = slice(None)
Decode = Callable[[Sequence[Tensor], Rows], Tensor]
RowsOf = Callable[[Rows], Tensor]  # rows to their numbers


class LazyTensors(Mapping[str, Tensor]):
    """A state dict of recipes: name to a function that maps, joins, splits or scales a tensor."""

    def __init__(self, recipes: Mapping[str, Callable[[], Tensor]]) -> None:
        self._recipes = dict(recipes)

    def __getitem__(self, name: str) -> Tensor:
        return self._recipes[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._recipes)

    def __len__(self) -> int:
        return len(self._recipes)


class LastTensor(Mapping[str, Tensor]):
    """Another mapping whose last tensor is kept: what is cut into parts is computed once."""

    def __init__(self, inner: Mapping[str, Tensor]) -> None:
        self._inner = inner
        self._last: tuple[str, Tensor] | None = None

    def __getitem__(self, name: str) -> Tensor:
        if self._last is None or self._last[0] != name:
            self._last = None  # given back before the next one comes
            self._last = name, self._inner[name]
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)


def _as_it_is(tensors: Sequence[Tensor], rows: Rows) -> Tensor:
    (tensor,) = tensors
    return tensor[rows] if tensor.ndim else tensor


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not read yet: parts that lie there, and how its numbers come from them.

    `dtype` is the format's own word for how it is kept (`BF16`, `F8_E4M3`, `Q4_K`, `NF4`), `shape`
    the shape of its numbers, `size` the bytes that it takes there. Each of `parts` gives a tensor
    as it lies in the file; `decode(tensors, rows)` the numbers of some rows (`EVERY`: all).
    """

    dtype: str
    shape: tuple[int, ...]
    size: int
    parts: tuple[Callable[[], Tensor], ...]
    decode: Decode = _as_it_is

    @property
    def raw(self) -> bool:
        """True if its numbers lie in the file as they are."""
        return self.decode is _as_it_is

    def opened(self) -> tuple[Tensor, ...]:
        """Its parts' tensors: mapped, where the file can be."""
        return tuple(part() for part in self.parts)

    def read(self) -> Tensor:
        """All of its numbers."""
        return self.decode(self.opened(), EVERY)


def derived(
    dtype: str, shape: tuple[int, ...], of: Sequence[Stored], decode: Callable[..., Tensor]
) -> Stored:
    """A tensor that is computed from others: `decode(rows, *of)`, where each of these, called with
    rows, gives its own."""
    stops = list(accumulate(len(one.parts) for one in of))
    places = [slice(stop - len(one.parts), stop) for one, stop in zip(of, stops, strict=True)]

    def decoded(tensors: Sequence[Tensor], rows: Rows) -> Tensor:
        return decode(
            rows,
            *(partial(one.decode, tensors[at]) for one, at in zip(of, places, strict=True)),
        )

    parts = tuple(part for one in of for part in one.parts)
    return Stored(dtype, shape, sum(one.size for one in of), parts, decoded)


def joined(of: Sequence[Stored]) -> Stored:
    """Tensors on top of one another, as one. Its rows can be had by slices only."""
    starts = [0, *accumulate(one.shape[0] for one in of)]

    def decode(rows: slice, *parts: RowsOf) -> Tensor:
        first, last, _ = rows.indices(starts[-1])
        pieces = [
            part(slice(max(first - start, 0), min(last, stop) - start))
            for part, start, stop in zip(parts, starts, starts[1:], strict=False)
            if first < stop and last > start
        ] or [parts[0](slice(0, 0))]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    return derived(of[0].dtype, (starts[-1], *of[0].shape[1:]), of, decode)


def swapped(stored: Stored) -> Stored:
    """A tensor with its two halves, of rows, in the other order."""
    count = stored.shape[0] if stored.shape else 0

    def decode(rows: Rows, whole: RowsOf) -> Tensor:
        places = numbers_of(rows, count, torch.device("cpu"))
        return whole((places + count // 2) % max(count, 1))

    return derived(stored.dtype, stored.shape, [stored], decode)


def numbers_of(rows: Rows, count: int, device: torch.device) -> Int[Tensor, " n"]:
    """The numbers of these rows, of `count`."""
    if isinstance(rows, slice):
        return torch.arange(*rows.indices(count), device=device)
    return rows.to(device)


def in_memory(tensor: Tensor) -> Stored:
    """A tensor that is there already, in the form of one that is not."""
    dtype = WORDS.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
    size = tensor.numel() * tensor.element_size()
    return Stored(dtype, tuple(tensor.shape), size, (lambda: tensor,))


class StoredTensors(LazyTensors):
    """The tensors of a file: what each is, known from the header, before it is read."""

    def __init__(
        self, stored: Mapping[str, Stored], metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__({name: tensor.read for name, tensor in stored.items()})
        self.stored = dict(stored)
        self.metadata = dict(metadata or {})
