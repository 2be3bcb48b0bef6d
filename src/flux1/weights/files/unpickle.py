"""The pickle that torch.save wrote, read as data: nothing in it is imported, called or believed.

A pickle is a program for a small machine with a stack. Here is that machine with only the steps
that containers, words, numbers and tensors take (docs.python.org/3/library/pickletools.html has
them all): no step takes more memory than the file has bytes for it, and no key of a dict is more
than a word or a number, whose hash is soon computed.
"""

import math
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from flux1.errors import WeightsError

LARGEST = 2**48  # of a side, a stride or an offset
MAX_DIMENSIONS = 16
MAX_PLACES = 10**6
Tensors = Callable[["Storage", int, tuple[int, ...], tuple[int, ...]], torch.Tensor]
_KEYS = str | int | float | None
_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool, "ComplexFloat": torch.complex64,
}  # fmt: skip
_FIXED: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_SPELLED = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
_PASSED_OVER = ("PROTO", "FRAME", "STOP")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Storage:
    """The `count` numbers that lie in the archive under `key`."""

    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True)
class _Name:
    """A class or function that a pickle names."""

    name: str


def unpickled(program: bytes, tensors: Tensors) -> Any:
    """What the program describes; `tensors` makes one of a storage, offset, shape and strides.

    WeightsError for a name that stands for more than data. ValueError and its like if the program
    is damaged.
    """
    return _Machine(tensors).run(program)


class _Machine:
    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[], None]] = {
            "MARK": lambda: self._marks.append(len(self._stack)),
            "TUPLE": lambda: self._stack.append(tuple(self._marked())),
            "APPEND": lambda: self._extend([self._stack.pop()]),
            "APPENDS": lambda: self._extend(self._marked()),
            "SETITEM": lambda: self._set([self._stack.pop(-2), self._stack.pop()]),
            "SETITEMS": lambda: self._set(self._marked()),
            "REDUCE": self._reduce,
            "BUILD": self._build,
            "BINPERSID": lambda: self._stack.append(_storage(self._stack.pop())),
            "EMPTY_LIST": lambda: self._stack.append([]),
            "EMPTY_DICT": lambda: self._stack.append({}),
            "MEMOIZE": lambda: self._memo.update({len(self._memo): self._stack[-1]}),
        }
        self._made: dict[str, Callable[..., Any]] = {
            "torch._utils _rebuild_tensor_v2": self._tensor,
            "torch._utils _rebuild_tensor_v3": self._tensor_of_bytes,
            "torch._utils _rebuild_tensor": self._tensor,
            "torch._utils _rebuild_parameter": lambda tensor, *_: tensor,
            "torch._utils _rebuild_parameter_with_state": lambda tensor, *_: tensor,
            "torch._tensor _rebuild_from_type_v2": lambda made, kind, given, *_: self._call(
                made, given
            ),
            "collections OrderedDict": lambda pairs=(): OrderedDict(_pairs(pairs)),
            "collections Counter": lambda counts: Counter(dict(_pairs(counts.items()))),
            "__builtin__ set": lambda members: set(_plain(members)),
            "torch Size": lambda sides: tuple(sides),
            "torch device": lambda name, *_: str(name),
        }

    def run(self, program: bytes) -> Any:
        for step, spelled, _ in pickletools.genops(program):
            name = step.name
            if name in self._steps:
                self._steps[name]()
            elif name in _FIXED:
                self._stack.append(_FIXED[name])
            elif name in _SPELLED:
                self._stack.append(spelled)
            elif name in ("BINPUT", "LONG_BINPUT"):
                self._memo[int(str(spelled))] = self._stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self._stack.append(self._memo[int(str(spelled))])
            elif name in _TUPLES:
                self._stack[-_TUPLES[name] :] = [tuple(self._stack[-_TUPLES[name] :])]
            elif name == "GLOBAL":
                self._stack.append(self._named(str(spelled)))
            elif name not in _PASSED_OVER:
                raise _more(name)
        (found,) = self._stack
        _check_walk(found)
        return found

    def _named(self, name: str) -> _Name:
        known = name in self._made or name in ("torch Tensor", "torch.nn.parameter Parameter")
        if not known and _dtype(name) is None:
            raise _more(name.replace(" ", "."))
        return _Name(name)

    def _marked(self) -> list[Any]:
        at = self._marks.pop()
        taken = self._stack[at:]
        del self._stack[at:]
        return taken

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError("items for what is no list")
        self._stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise ValueError("items for what is no dict")
        self._stack[-1].update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def _reduce(self) -> None:
        given, made = self._stack.pop(), self._stack.pop()
        self._stack.append(self._call(made, given))

    def _call(self, made: Any, given: Any) -> Any:
        if not isinstance(made, _Name) or not isinstance(given, tuple):
            raise ValueError("a call of what cannot be called")
        if made.name not in self._made:
            raise _more(made.name.replace(" ", "."))
        return self._made[made.name](*given)

    def _build(self) -> None:
        """The state of a dict (its `_metadata`) is not needed; nothing else has one."""
        self._stack.pop()
        if not isinstance(self._stack[-1], OrderedDict):
            raise ValueError("a state for what has none")

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> torch.Tensor:
        if not isinstance(storage, Storage) or not len(shape) == len(strides) <= MAX_DIMENSIONS:
            raise ValueError("no tensor")
        for number in (offset, *shape, *strides):
            if type(number) is not int or not 0 <= number < LARGEST:
                raise ValueError("not a size")
        if math.prod(filter(None, shape)) >= LARGEST:
            raise ValueError("not a size")
        return self._tensors(storage, offset, tuple(shape), tuple(strides))

    def _tensor_of_bytes(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        grad: Any,
        hooks: Any,
        dtype: _Name,
        *_: Any,
    ) -> torch.Tensor:
        numbers = _dtype(dtype.name)
        if numbers is None or not isinstance(storage, Storage):
            raise ValueError("no tensor")
        typed = Storage(numbers, storage.key, storage.count // numbers.itemsize)
        return self._tensor(typed, offset, shape, strides)


def _check_walk(found: Any) -> None:
    """ValueError for a tree with more places than a file of this kind has: a list may be in itself,
    or in two places of a list that is in two places, and so on."""
    waiting, seen = [found], 0
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict | list | tuple):
            waiting += inner.values() if isinstance(inner, dict) else inner
        seen += 1
        if seen + len(waiting) > MAX_PLACES:
            raise ValueError("too many places")


def _storage(told: Any) -> Storage:
    word, kind, key, _, count = told
    dtype = _dtype(kind.name)
    if word != "storage" or dtype is None or type(key) is not str or type(count) is not int:
        raise ValueError("no storage")
    return Storage(dtype, key, count)


def _dtype(name: str) -> torch.dtype | None:
    """Of a class of storages (`torch FloatStorage`), or a dtype's own name (`torch float32`)."""
    module, _, last = name.partition(" ")
    if name == "torch.storage UntypedStorage":
        return torch.uint8
    if module != "torch":
        return None
    told = getattr(torch, last, None) if last.isidentifier() else None
    return told if isinstance(told, torch.dtype) else _DTYPES.get(last.removesuffix("Storage"))


def _pairs(pairs: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in pairs:
        if not isinstance(key, _KEYS):
            raise ValueError("a key that is neither a word nor a number")
        yield key, value


def _plain(members: Any) -> Iterator[Any]:
    return (key for key, _ in _pairs((member, None) for member in members))


def _more(name: str) -> WeightsError:
    return WeightsError(
        f"this pickle holds more than tensors ({name[:200]}) and could run a program: refused; "
        "ask for a safetensors file"
    )
