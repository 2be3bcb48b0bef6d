"""Layers whose weights are kept in another form than the one they are used in: quantised, or in a
file. A few rows at a time are brought to the compute dtype, in every call, and dropped after it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

# Numbers of a weight that are decoded at once. On a CPU they should stay in its cache; elsewhere
# each piece costs the start of a few kernels.
PIECE_ON_CPU, PIECE = 2**21, 2**26
ROWS_MULTIPLE = 64  # so a piece's products are computed as the whole's would be
TOGETHER = 16  # rows that belong to a picture each are multiplied so many at a time


@runtime_checkable
class Matrix(Protocol):
    """A weight, however it is kept."""

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def nbytes(self) -> int:
        """The bytes that it takes in memory between calls."""
        ...

    def times(
        self, x: Float[Tensor, "... n_in"], bias: Float[Tensor, " n_out"] | None
    ) -> Float[Tensor, "... n_out"]:
        """x W^T + b, in x's dtype and on its device."""
        ...

    def rows(
        self, which: slice | Int[Tensor, " n"], dtype: torch.dtype, device: torch.device
    ) -> Float[Tensor, "n n_in"]:
        """Some rows, or all, as plain numbers."""
        ...


class StoredLinear(nn.Module):
    """`nn.Linear` with a stored weight."""

    def __init__(
        self,
        matrix: Matrix,
        bias: nn.Parameter | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        """`dtype` and `device` are those of `weight`, and should be the inputs'."""
        super().__init__()
        self.out_features, self.in_features = matrix.shape
        self.matrix, self.bias = matrix, bias
        self._dtype, self.device = dtype, torch.device(device)

    def forward(self, x: Float[Tensor, "... n_in"]) -> Float[Tensor, "... n_out"]:
        return self.matrix.times(x, self.bias)

    @property
    def weight(self) -> Float[Tensor, "n_out n_in"]:
        """The whole weight, decoded for whoever asks: as large as if it were not stored."""
        return self.matrix.rows(slice(None), self._dtype, self.device)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


class StoredEmbedding(nn.Module):
    """`nn.Embedding` with a stored weight: only the rows that are asked for are decoded."""

    def __init__(self, matrix: Matrix, dtype: torch.dtype, device: torch.device | str) -> None:
        """`dtype` and `device` are the output's."""
        super().__init__()
        self.num_embeddings, self.embedding_dim = matrix.shape
        self.matrix = matrix
        self._dtype, self.device = dtype, torch.device(device)

    def forward(self, ids: Int[Tensor, "..."]) -> Float[Tensor, "... d"]:
        rows = self.matrix.rows(ids.flatten(), self._dtype, self.device)
        return rows.reshape(*ids.shape, -1)


def times_in_pieces(
    x: Float[Tensor, "... n_in"],
    rows: Callable[[slice], Float[Tensor, "n n_in"]],
    n_out: int,
    bias: Float[Tensor, " n_out"] | None,
) -> Float[Tensor, "... n_out"]:
    """x W^T + b, where `rows` gives some rows of W in x's dtype.

    Where x has one row for each picture (b x n_in), a row's product does not depend on how many
    share the call, to the last bit: what is computed beforehand is what would be computed later.
    """
    numbers = PIECE_ON_CPU if x.device.type == "cpu" else PIECE
    step = max(1, numbers // (ROWS_MULTIPLE * x.shape[-1])) * ROWS_MULTIPLE
    groups = _groups(x) if x.ndim == 2 else [x]
    y = x.new_empty(*x.shape[:-1], n_out)
    for start in range(0, n_out, step):
        place = slice(start, min(start + step, n_out))
        piece, own = rows(place), None if bias is None else bias[place]
        done = 0
        for group in groups:
            count = min(len(group), len(x) - done)
            y[done : done + count, ..., place] = F.linear(group, piece, own)[:count]
            done += count
    return y


def _groups(x: Float[Tensor, "b d"]) -> Sequence[Float[Tensor, "16 d"]]:
    """The rows in groups of one size, filled up with zeros: so the same kernel multiplies all."""
    return F.pad(x, (0, 0, 0, -len(x) % TOGETHER)).split(TOGETHER)
