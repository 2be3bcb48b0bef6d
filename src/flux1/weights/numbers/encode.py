"""The number formats that weights are written in, by the names that `flux1 convert --dtype` has.

An encoding tells beforehand what a tensor becomes (`forms`) and makes it when asked (`encode`), a
few million numbers at a time: beside the tensor itself, memory holds the result.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod

import torch
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files import gguf
from flux1.weights.files.dtypes import DTYPES
from flux1.weights.files.open import naming
from flux1.weights.files.write import Shape, TensorFormat
from flux1.weights.numbers import fp8, int8, nf4

CHUNK = 2**22  # numbers that are worked on at once
PLAIN = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}
BLOCKS = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0")  # what the `gguf` library can encode


@dataclass(frozen=True)
class Encoding:
    """The encoding of a tensor. `narrow`: below 16 bits, for the large matrices of a network
    only; `marker` and `metadata` go into each file that is written so."""

    name: str
    forms: Callable[[str, Shape], dict[str, TensorFormat]]
    encode: Callable[[str, Tensor], dict[str, Tensor]]
    narrow: bool = True
    marker: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def plain(word: str) -> Encoding:
    """A dtype of torch's, by safetensors' and GGUF's word for it."""
    return Encoding(
        word, lambda name, shape: {name: _form(word, shape)}, partial(_cast, word), narrow=False
    )


def _form(word: str, shape: Shape) -> TensorFormat:
    return TensorFormat(word, shape, prod(shape) * DTYPES[word].itemsize)


def _cast(word: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
    cast = tensor.to(DTYPES[word])
    if word == "F16" and cast.isinf().any() and not tensor.isinf().any():
        raise WeightsError(f"{name}: holds numbers beyond fp16's 65504; take bf16")
    return {name: cast}


def _pieces(name: str, tensor: Tensor, unit: int = nf4.BLOCK) -> Iterator[Tensor]:
    """All numbers in order, as float32 in pieces of whole units. WeightsError if one is not
    finite."""
    for piece in tensor.flatten().split(max(CHUNK // unit, 1) * unit):
        numbers = piece.float()
        if not numbers.isfinite().all():
            raise WeightsError(f"{name}: holds numbers that are not finite, cannot quantise it")
        yield numbers


def _fp8(name: str, tensor: Tensor) -> dict[str, Tensor]:
    with naming(name):
        pieces = [fp8.to_fp8(piece) for piece in _pieces(name, tensor)]
    return {name: torch.cat(pieces).reshape(tensor.shape)}


def _fp8_scaled(name: str, tensor: Tensor) -> dict[str, Tensor]:
    largest = torch.stack([piece.abs().amax() for piece in _pieces(name, tensor)]).amax()
    scale = fp8.scale_of(largest)
    pieces = [
        (piece / scale).clamp(-fp8.LARGEST, fp8.LARGEST).to(fp8.E4M3)
        for piece in _pieces(name, tensor)
    ]
    return {name: torch.cat(pieces).reshape(tensor.shape), _scale_name(name): scale}


def _scale_name(name: str) -> str:
    return name.removesuffix(".weight") + fp8.SCALES[0]


def _nf4(name: str, tensor: Tensor) -> dict[str, Tensor]:
    made = [nf4.pack(piece) for piece in _pieces(name, tensor)]
    return {
        name: torch.cat([codes for codes, _ in made])[:, None],
        f"{name}.absmax": torch.cat([scales for _, scales in made]),
        f"{name}.quant_map": torch.tensor(nf4.VALUES),
        f"{name}{nf4.STATE}nf4": nf4.description(tuple(tensor.shape)),
    }


def _nf4_forms(name: str, shape: Shape) -> dict[str, TensorFormat]:
    if prod(shape) % 2:
        raise WeightsError(f"{name}: an odd count of numbers cannot be packed as nf4")
    return {
        name: _form("U8", (prod(shape) // 2, 1)),
        f"{name}.absmax": _form("F32", (-(-prod(shape) // nf4.BLOCK),)),
        f"{name}.quant_map": _form("F32", (nf4.CODES,)),
        f"{name}{nf4.STATE}nf4": _form("U8", (nf4.description(shape).numel(),)),
    }


def _int8(name: str, tensor: Tensor) -> dict[str, Tensor]:
    rows = max(CHUNK // max(tensor[0].numel(), 1), 1)
    made = [int8.quantize_rows({name: piece}) for piece in tensor.split(rows)]
    return {key: torch.cat([piece[key] for piece in made]) for key in made[0]}


def _gguf(kind: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
    with naming(name):
        pieces = [
            gguf.encode(piece.reshape(-1, tensor.shape[-1]), kind)
            for piece in _pieces(name, tensor, tensor.shape[-1])
        ]
    return {name: torch.cat(pieces)}


def _gguf_forms(kind: str, name: str, shape: Shape) -> dict[str, TensorFormat]:
    each, size = gguf.block_size(kind)
    if shape[-1] % each:
        raise WeightsError(f"{name}: rows of {shape[-1]} are not whole blocks of {kind}; take bf16")
    return {name: TensorFormat(kind, shape, prod(shape) // each * size)}


ENCODINGS = {
    **{name: plain(word) for name, word in PLAIN.items()},
    "fp8": Encoding("fp8", lambda name, shape: {name: _form("F8_E4M3", shape)}, _fp8),
    "fp8_scaled": Encoding(
        "fp8_scaled",
        lambda name, shape: {name: _form("F8_E4M3", shape), _scale_name(name): _form("F32", ())},
        _fp8_scaled,
        marker={fp8.MARKER: torch.empty(0, dtype=fp8.E4M3)},
    ),
    "int8": Encoding(
        "int8",
        lambda name, shape: {
            name: _form("I8", shape), name + int8.SCALE_SUFFIX: _form("F32", shape[:1]),
        },
        _int8,
        metadata=int8.METADATA,
    ),
    "nf4": Encoding("nf4", _nf4_forms, _nf4),
    **{
        name: Encoding(name, partial(_gguf_forms, name.upper()), partial(_gguf, name.upper()))
        for name in BLOCKS
    },
}  # fmt: skip
