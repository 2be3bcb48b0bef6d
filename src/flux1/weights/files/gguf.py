"""GGUF files, as city96's tools, stable-diffusion.cpp and llama.cpp write them: mapped, and each
tensor decoded when asked for.

The format (github.com/ggml-org/ggml/blob/master/docs/gguf.md): a magic word, a version, counts;
keys and values; name, shape, type and place of each tensor; the bytes, aligned. Shapes are written
with the fastest dimension first, the other way round than torch's. The header is read here, within
bounds, because it is not to be believed; blocks are decoded by gguf_blocks.py or, of the rarer
types, by the `gguf` library.
"""

import math
import mmap
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files.gguf_blocks import DECODERS
from flux1.weights.files.lazy import Rows, Stored, StoredTensors
from flux1.weights.files.mapped import MappedFile

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER = 100_000_000  # bytes
MAX_NAME = 65_535  # bytes
MAX_DIMENSIONS = 4
LARGEST = 2**48  # of a shape's sides multiplied, noughts left out
MAX_NESTING = 4  # of arrays in arrays
MAX_ALIGNMENT = 65_536
ARCHITECTURE = "general.architecture"
PLAIN = {  # types that torch has: mapped as they are
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
}
_SCALARS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?", None, None, "Q", "q", "d")))
_STRING, _ARRAY = 8, 9
_SMALLEST_PAIR, _SMALLEST_TENSOR = 13, 24  # bytes


class GgufTensors(StoredTensors):
    """The tensors of a GGUF file: quantised ones are decoded to float32 when asked for."""

    def __init__(self, path: Path, opened: MappedFile | None = None) -> None:
        """Open `path`, which may be `opened` already. WeightsError, naming the file, if it is
        damaged or of a version that is not known."""
        self.path = path
        self.files = [path]
        mapped = opened or MappedFile(path)
        try:
            self.version, metadata, entries = _read_header(mapped)
        except WeightsError as failure:
            raise WeightsError(f"{path}: {failure}") from failure
        except (struct.error, ValueError, LookupError) as failure:
            raise WeightsError(f"{path}: its header is damaged; download it again") from failure
        super().__init__(
            {
                name: _stored(mapped, name, kind, start, shape, size)
                for name, (kind, shape, start, size) in entries.items()
            },
            metadata,
        )


def block_size(kind: str) -> tuple[int, int]:
    """(numbers, bytes) of a block of this type: (32, 18) for `Q4_0`. ValueError if unknown."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        return GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    except KeyError as failure:
        raise ValueError(f"{kind!r} is not a type of GGUF's") from failure


def decode(blocks: Tensor, kind: str, shape: tuple[int, ...]) -> Tensor:
    """Packed bytes of a block type to float32. WeightsError if the library cannot decode it."""
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    if kind in DECODERS:
        _, size = block_size(kind)
        return DECODERS[kind](blocks.reshape(-1, size)).reshape(shape)
    try:
        with np.errstate(all="ignore"):  # a damaged file's scales may be infinite
            numbers = dequantize(blocks.cpu().numpy(), GGMLQuantizationType[kind])
    except NotImplementedError as failure:
        raise WeightsError(f"type {kind} cannot be decoded") from failure
    return torch.from_numpy(numbers).reshape(shape).to(blocks.device)


def encode(numbers: Tensor, kind: str) -> Tensor:
    """Float32 rows to the packed bytes of a block type. WeightsError if the rows are not whole
    blocks, the library can only decode this type, or it cannot hold the numbers."""
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import quantize

    each, _ = block_size(kind)
    if numbers.shape[-1] % each:
        raise WeightsError(f"rows of {numbers.shape[-1]} are not whole blocks of {kind}")
    try:
        with np.errstate(over="raise"):
            packed = quantize(numbers.numpy(), GGMLQuantizationType[kind])
    except NotImplementedError as failure:
        raise WeightsError(f"type {kind} cannot be encoded") from failure
    except FloatingPointError as failure:
        raise WeightsError(f"holds numbers beyond {kind}'s scales, which are fp16") from failure
    return torch.from_numpy(packed)


def _stored(
    mapped: MappedFile, name: str, kind: str, start: int, shape: tuple[int, ...], size: int
) -> Stored:
    if 0 in shape:
        return Stored(kind, shape, size, (partial(torch.empty, shape),))
    if kind in PLAIN:
        return Stored(kind, shape, size, (partial(mapped.tensor, start, PLAIN[kind], shape),))
    numbers, each = block_size(kind)
    bytes_shape = (*shape[:-1], shape[-1] // numbers * each)
    part = partial(mapped.tensor, start, torch.uint8, bytes_shape)
    return Stored(kind, shape, size, (part,), partial(_decoded, name, kind, shape))


def _decoded(
    name: str, kind: str, shape: tuple[int, ...], tensors: Sequence[Tensor], rows: Rows
) -> Tensor:
    (blocks,) = tensors
    try:
        if len(shape) == 1:  # of a vector, the blocks have no rows
            return decode(blocks, kind, shape)[rows]
        chosen = blocks[rows]
        return decode(chosen, kind, (len(chosen), *shape[1:]))
    except WeightsError as failure:
        raise WeightsError(f"{name}: {failure}") from failure


def _read_header(
    mapped: MappedFile,
) -> tuple[int, dict[str, str], dict[str, tuple[str, tuple[int, ...], int, int]]]:
    """(version, metadata, name to (type, shape, start, size)). Errors without the file's name."""
    size = mapped.size
    if size < 24:
        raise WeightsError(f"truncated: {size} bytes; download it again")
    with mapped.pages() as pages:
        cursor = _Cursor(pages, min(size, MAX_HEADER))
        if cursor.take(4) != MAGIC:
            raise WeightsError("not a GGUF file")
        version = cursor.number("I")
        if version & 0xFFFF == 0:
            raise WeightsError("a GGUF file of a big-endian machine cannot be read")
        if version not in VERSIONS:
            raise WeightsError(f"GGUF version {version} is not known; 2 and 3 are")
        tensors, pairs = cursor.number("Q"), cursor.number("Q")
        if tensors * _SMALLEST_TENSOR + pairs * _SMALLEST_PAIR > size:
            raise WeightsError(f"claims {tensors} tensors and {pairs} keys in {size} bytes")
        metadata = dict(cursor.pair() for _ in range(pairs))
        lines = [cursor.tensor() for _ in range(tensors)]
        alignment = int(metadata.get("general.alignment", "32"))
        if not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise WeightsError(f"alignment {alignment} is not a power of two")
        data = cursor.at + -cursor.at % alignment
    return version, metadata, dict(_checked(lines, data, size))


def _checked(
    lines: list[tuple[str, tuple[int, ...], int, int]], data: int, size: int
) -> Iterator[tuple[str, tuple[str, tuple[int, ...], int, int]]]:
    """The tensors with their bytes' place and size, after checking that the file can hold them."""
    from gguf.constants import GGMLQuantizationType

    known = {kind.value: kind.name for kind in GGMLQuantizationType}
    names: set[str] = set()
    total = 0
    for name, dimensions, number, offset in lines:
        if number not in known:
            raise WeightsError(f"{name}: type {number} is not known")
        kind = known[number]
        numbers, bytes_each = block_size(kind)
        if dimensions and dimensions[0] % numbers:
            raise WeightsError(f"{name}: rows of {dimensions[0]} are not whole blocks of {kind}")
        if not dimensions and numbers > 1:
            raise WeightsError(f"{name}: a single number is not a block of {kind}")
        taken = math.prod(dimensions) // numbers * bytes_each
        start = data + offset
        if start + taken > size:
            raise WeightsError(
                f"truncated: {name} ends at byte {start + taken} of {size}; download it again"
            )
        if math.prod(filter(None, dimensions)) >= LARGEST:  # there is a 0 among them
            raise WeightsError(f"damaged header: {name} claims a shape of {dimensions}")
        total += taken
        if name in names or total > size:
            raise WeightsError(f"{name} is there twice, or shares its bytes with another")
        names.add(name)
        yield name, (kind, tuple(reversed(dimensions)), start, taken)


class _Cursor:
    """Reads what the header is made of, and never past its end."""

    def __init__(self, pages: mmap.mmap, end: int) -> None:
        self.at = 0
        self._pages, self._end = pages, end

    def take(self, size: int) -> bytes:
        if size > self._end - self.at:
            raise WeightsError(f"truncated, or a damaged header: {size} bytes wanted at {self.at}")
        self.at += size
        return self._pages[self.at - size : self.at]

    def number(self, form: str) -> int:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def text(self, longest: int = MAX_HEADER) -> str:
        size = self.number("Q")
        if size > longest:
            raise WeightsError(f"damaged header: a name of {size} bytes")
        return self.take(size).decode("utf-8")

    def pair(self) -> tuple[str, str]:
        return self.text(MAX_NAME), self._value(self.number("I"), MAX_NESTING)

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        name, count = self.text(MAX_NAME), self.number("I")
        if count > MAX_DIMENSIONS:
            raise WeightsError(f"damaged header: {name} has {count} dimensions")
        dimensions = tuple(self.number("Q") for _ in range(count))
        return name, dimensions, self.number("I"), self.number("Q")

    def _value(self, kind: int, nesting: int) -> str:
        """A value as words; of an array, how long it is."""
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return str(self.number(_scalar(kind)))
        inner, count = self.number("I"), self.number("Q")
        if not nesting:
            raise WeightsError("damaged header: arrays in arrays in arrays")
        if inner in (_STRING, _ARRAY):
            if count > self._end - self.at:
                raise WeightsError(f"damaged header: an array of {count}")
            for _ in range(count):
                self._value(inner, nesting - 1)
        else:
            self.take(count * struct.calcsize(f"<{_scalar(inner)}"))
        return f"{count} values"


def _scalar(kind: int) -> str:
    form = _SCALARS.get(kind)
    if form is None:
        raise WeightsError(f"damaged header: values of type {kind} are not known")
    return form
