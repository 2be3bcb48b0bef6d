"""The numbers that the mathematics is done on: torch's tensors in one pipeline, numpy's arrays in
the other. Nothing here imports torch before it is needed."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Arithmetic(Protocol):
    """Numbers, or many at once: added and multiplied element by element."""

    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...


@runtime_checkable
class Shaped(Arithmetic, Protocol):
    """Many numbers, in some shape."""

    @property
    def ndim(self) -> int: ...
    @property
    def reshape(self) -> Callable[..., Any]: ...


Number = TypeVar("Number", bound=Arithmetic)
Array = TypeVar("Array", bound=Shaped)
