"""Quantised files to plain tensors. A scheme recognises its tensors among those of a file by name
and dtype, and gives back the same tensors without them: plain ones, decoded when asked for.

(GGUF is a file format, not a scheme: weights/files/gguf.py decodes its blocks by itself.)
"""

from typing import Protocol

from flux1.errors import WeightsError
from flux1.weights.files.lazy import StoredTensors
from flux1.weights.numbers import fp8, int8, nf4, torchao

NUNCHAKU = (".qweight", ".wscales", ".smooth_factor")


class Scheme(Protocol):
    """A way to keep weights in few bits; each is a file of its own."""

    NAME: str

    def recognise(self, state: StoredTensors) -> bool: ...

    def plain(self, state: StoredTensors) -> StoredTensors: ...


SCHEMES: tuple[Scheme, ...] = (torchao, int8, nf4, fp8)


def schemes_of(state: StoredTensors) -> list[str]:
    """The names of the schemes that are found in these tensors."""
    return [scheme.NAME for scheme in SCHEMES if scheme.recognise(state)]


def plain_tensors(state: StoredTensors) -> StoredTensors:
    """The tensors with every known scheme undone. WeightsError where one is damaged, or packed for
    a graphics card's kernels."""
    if all(any(name.endswith(part) for name in state.stored) for part in NUNCHAKU):
        raise WeightsError(
            "is packed for Nunchaku's CUDA kernels (SVDQuant), which is not read; "
            "GGUF, fp8 and NF4 files are"
        )
    for scheme in SCHEMES:
        if scheme.recognise(state):
            state = scheme.plain(state)
    return state
