"""Tensors computed when asked for, so a 24 GB file passes through memory one tensor at a time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from flux1.weights.dtypes import WORDS


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


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not read yet.

    `dtype` is the format's own word for how it is kept (`BF16`, `F8_E4M3`, `Q4_K`, `NF4`), `size`
    the bytes that it takes there, `shape` the shape of what `read` gives.
    """

    dtype: str
    shape: tuple[int, ...]
    size: int
    read: Callable[[], Tensor]


def in_memory(tensor: Tensor) -> Stored:
    """A tensor that is there already, in the form of one that is not."""
    dtype = WORDS.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
    size = tensor.numel() * tensor.element_size()
    return Stored(dtype, tuple(tensor.shape), size, lambda: tensor)


class StoredTensors(LazyTensors):
    """The tensors of a file: what each is, known from the header, before it is read."""

    def __init__(
        self, stored: Mapping[str, Stored], metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__({name: tensor.read for name, tensor in stored.items()})
        self.stored = dict(stored)
        self.metadata = dict(metadata or {})
