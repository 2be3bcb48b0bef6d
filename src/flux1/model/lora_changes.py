"""The changes that a LoRA makes to a layer: the forms that a change can have, and where in the
layer it goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flux1.errors import Flux1Error
from flux1.model.attention import unit_rms

# Each form of a change gives, called, the matrix times x, without building the matrix where that
# can be avoided, and, by `dense`, the matrix itself in fp32.


@dataclass(frozen=True)
class LowRank:
    """scale * up @ down (LoRA)."""

    down: Float[Tensor, "rank n_in"]
    up: Float[Tensor, "n_out rank"]
    scale: float = 1.0

    def __call__(self, x: Float[Tensor, "... n_in"]) -> Float[Tensor, "... n_out"]:
        # where a branch reads more inputs than there are, those are taken for 0
        return self.scale * F.linear(F.linear(x, self.down[:, : x.shape[-1]]), self.up)

    def dense(self) -> Float[Tensor, "n_out n_in"]:
        return self.scale * (self.up.float() @ self.down.float())


@dataclass(frozen=True)
class Kronecker:
    """scale * kron(left, right) (LoKr)."""

    left: Float[Tensor, "o1 i1"]
    right: Float[Tensor, "o2 i2"]
    scale: float = 1.0

    def __call__(self, x: Float[Tensor, "... n_in"]) -> Float[Tensor, "... n_out"]:
        blocks = x.unflatten(-1, (self.left.shape[1], self.right.shape[1]))
        inner = F.linear(blocks, self.right)  # ... i1 o2
        outer = torch.einsum("oi,...ip->...op", self.left, inner)
        return self.scale * outer.flatten(-2)

    def dense(self) -> Float[Tensor, "n_out n_in"]:
        return self.scale * torch.kron(self.left.float(), self.right.float())


@dataclass(frozen=True)
class Hadamard:
    """scale * (up1 @ down1) * (up2 @ down2), elementwise (LoHa). Built at each call: an elementwise
    product has no cheaper form, and kept whole it would be as large as the layer."""

    up1: Float[Tensor, "n_out rank"]
    down1: Float[Tensor, "rank n_in"]
    up2: Float[Tensor, "n_out rank"]
    down2: Float[Tensor, "rank n_in"]
    scale: float = 1.0

    def __call__(self, x: Float[Tensor, "... n_in"]) -> Float[Tensor, "... n_out"]:
        return self.scale * F.linear(x, (self.up1 @ self.down1) * (self.up2 @ self.down2))

    def dense(self) -> Float[Tensor, "n_out n_in"]:
        first, second = self.up1.float() @ self.down1.float(), self.up2.float() @ self.down2.float()
        return self.scale * first * second


@dataclass(frozen=True)
class Full:
    """The matrix itself."""

    matrix: Float[Tensor, "n_out n_in"]

    def __call__(self, x: Float[Tensor, "... n_in"]) -> Float[Tensor, "... n_out"]:
        return F.linear(x, self.matrix)

    def dense(self) -> Float[Tensor, "n_out n_in"]:
        return self.matrix.float()


_WHOLE = (torch.float32, torch.bfloat16, torch.float16)  # 8 bits come with scales of their own
Change = LowRank | Kronecker | Hadamard | Full


@dataclass(frozen=True)
class LinearDelta:
    """The change of a LoRA to the rows `start` to `stop` of a linear layer, at scale 1.

    `swapped`: the two halves of the change's rows stand in the other order (diffusers' norm_out).
    `magnitude` makes it a DoRA: the changed rows (n_out x 1) or columns (1 x n_in) get that length.
    `wide`: the change reads more inputs than the layer has (a control picture's).
    """

    reads_plain: ClassVar[bool] = False
    in_full: ClassVar[bool] = False

    start: int
    stop: int
    change: Change | None = None
    bias: Float[Tensor, " n_out"] | None = None
    magnitude: Float[Tensor, "m n"] | None = None
    swapped: bool = False
    wide: bool = False

    def output(
        self, x: Float[Tensor, "... n_in"], plain: Float[Tensor, "... all"], layer: nn.Module
    ) -> Float[Tensor, "... n_out"]:
        """The change of these rows' output, where `plain` is the layer's own."""
        if self.change is None:
            assert self.bias is not None  # a change of nothing is not made
            return self.bias.expand(*x.shape[:-1], -1)
        out = self._turned(self.change(x), -1)
        return out if self.bias is None else out + self.bias

    def weight(self, weight: Float[Tensor, "all n_in"]) -> Float[Tensor, "n_out n"] | None:
        """The change of these rows of an fp32 weight; None if only the bias changes."""
        if self.change is None:
            return None
        change = self._turned(self.change.dense(), 0)
        if self.magnitude is None:
            return change
        rows = weight[self.start : self.stop]
        return self._gain(rows + change) * (rows + change) - rows

    def placed(self, layer: nn.Module, device: torch.device, dtype: torch.dtype) -> "LinearDelta":
        """Ready to stand beside `layer`."""
        change = None if self.change is None else _moved(self.change, device, dtype)
        bias = None if self.bias is None else self.bias.to(device, dtype, copy=True)
        if self.magnitude is None or self.change is None:
            return replace(self, change=change, bias=bias, magnitude=None)
        rows = _weight_of(layer)[self.start : self.stop].float()
        changed = rows + self._turned(self.change.dense().to(rows.device), 0)
        more = (self._gain(changed) - 1).to(device, dtype)
        return WithGain(self.start, self.stop, change, bias, None, self.swapped, more=more)

    def _gain(self, changed: Float[Tensor, "n_out n_in"]) -> Float[Tensor, "m n"]:
        assert self.magnitude is not None
        along = 1 if self.magnitude.shape[1] == 1 else 0
        length = changed.norm(dim=along, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        return self.magnitude.to(changed.device, torch.float32) / length

    def _turned(self, rows: Tensor, dim: int) -> Tensor:
        return rows.roll(rows.shape[dim] // 2, dim) if self.swapped else rows


@dataclass(frozen=True)
class WithGain(LinearDelta):
    """A DoRA beside its layer: gain * (W + D) - W = D + more * (W + D), where more = gain - 1 needs
    W only once, here. Gains are near 1: kept as they are, bfloat16 would lose what they do."""

    reads_plain: ClassVar[bool] = True
    more: Float[Tensor, "m n"] | None = None

    def output(
        self, x: Float[Tensor, "... n_in"], plain: Float[Tensor, "... all"], layer: nn.Module
    ) -> Float[Tensor, "... n_out"]:
        assert self.more is not None
        assert self.change is not None
        rows = slice(self.start, self.stop)
        own_bias = getattr(layer, "bias", None)
        offset = 0.0 if own_bias is None else own_bias[rows]
        out = self._turned(self.change(x), -1)
        if self.more.shape[1] == 1:
            out = out + self.more[:, 0] * (out + plain[..., rows] - offset)
        else:
            further = self.more[0] * x
            # `forward`, not a call: the branches hang on calls
            moved = layer.forward(further)[..., rows] - offset
            out = out + self._turned(self.change(further), -1) + moved
        return out if self.bias is None else out + self.bias


@dataclass(frozen=True)
class NormDelta:
    """The change of a LoRA to the scale of a QK norm: add a vector, or put one in its place, which
    then counts in full whatever the LoRA's scale (BFL's control LoRAs)."""

    reads_plain: ClassVar[bool] = True
    wide: ClassVar[bool] = False
    vector: Float[Tensor, " dim"]
    replaces: bool

    @property
    def in_full(self) -> bool:
        """True if the LoRA's scale does not matter."""
        return self.replaces

    def output(
        self, x: Float[Tensor, "... dim"], plain: Float[Tensor, "... dim"], layer: nn.Module
    ) -> Float[Tensor, "... dim"]:
        """The change of the norm's output, where `plain` is its own."""
        return unit_rms(x) * self.vector - (plain if self.replaces else 0)

    def placed(self, layer: nn.Module, device: torch.device, dtype: torch.dtype) -> "NormDelta":
        """Ready to stand beside `layer`."""
        return replace(self, vector=self.vector.to(device, dtype, copy=True))


Delta = LinearDelta | NormDelta
Deltas = Mapping[str, Sequence[Delta]]  # by module


def _weight_of(layer: nn.Module) -> Tensor:
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.dtype not in _WHOLE or weight.ndim != 2:
        raise Flux1Error("loras: a DoRA needs the layers' weights, and these are quantised")
    return weight


def _moved(change: Change, device: torch.device, dtype: torch.dtype) -> Change:
    tensors: dict[str, Any] = {
        field.name: value.to(device, dtype, copy=True)  # the file may be written again
        for field in fields(change)
        if isinstance(value := getattr(change, field.name), Tensor)
    }
    return replace(change, **tensors)
