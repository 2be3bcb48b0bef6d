"""A layer's weight as its file keeps it.

Packed: the parts of a tensor are in memory as they lie in the file. Mapped: they stay in the file.
Both are decoded a few rows at a time in every call, by the code that decodes the file; or are
multiplied as they are, where there is arithmetic for that.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from flux1.model.stored import times_in_pieces
from flux1.weights.files.ahead import Ahead
from flux1.weights.files.lazy import Rows, Stored

FEW = 4  # rows that are looked up before the file is unmapped: each may have mapped 2 MB around it
Arithmetic = Callable[..., Tensor]  # x, a weight's parts, the bias: x W^T + b


class StoredMatrix:
    """A tensor as its file keeps it: packed (its parts are `tensors`) or mapped (`ahead` opens
    them). It is a Matrix of model/stored.py."""

    def __init__(
        self,
        stored: Stored,
        source: Sequence[Tensor] | Ahead,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        self._stored, self._source, self._arithmetic = stored, source, arithmetic

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self._stored.shape
        return rows, columns

    @property
    def nbytes(self) -> int:
        if isinstance(self._source, Ahead):
            return 0
        return sum(tensor.nbytes for tensor in self._source)

    def times(
        self, x: Float[Tensor, "... n_in"], bias: Float[Tensor, " n_out"] | None
    ) -> Float[Tensor, "... n_out"]:
        source = self._source
        tensors = source.open(self._stored) if isinstance(source, Ahead) else source
        if self._arithmetic is not None and x.ndim > 2:  # a row for a whole picture stays exact
            return self._arithmetic(x, *tensors, bias)
        decoded = partial(self._decoded, tensors, x.dtype, x.device)
        return times_in_pieces(x, decoded, self.shape[0], bias)

    def rows(
        self, which: Rows, dtype: torch.dtype, device: torch.device
    ) -> Float[Tensor, "n n_in"]:
        if not isinstance(self._source, Ahead):
            if isinstance(which, Tensor):
                which = which.to(self._source[0].device)
            return self._decoded(self._source, dtype, device, which)
        few = [which] if isinstance(which, slice) else which.cpu().split(FEW)
        found = [self._decoded(self._stored.opened(), dtype, device, some) for some in few]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _decoded(
        self, tensors: Sequence[Tensor], dtype: torch.dtype, device: torch.device, rows: Rows
    ) -> Tensor:
        return self._stored.decode(tensors, rows).to(device, dtype)
