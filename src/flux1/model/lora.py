"""LoRA: a small change beside a layer whose own weights never move.

A layer's output becomes y = layer(x) + sum_k s_k * delta_k(x), where the scales s_k belong to the
rows of one call: pictures with different LoRAs share it. The branches hang on the layers as hooks,
so the modules, their names and their bits are the same before, during and after.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from flux1.errors import Flux1Error
from flux1.model.lora_changes import Delta, Deltas, NormDelta


@dataclass(frozen=True)
class _Share:
    """The rows of a call that take a LoRA (None: all), and how much each takes."""

    rows: Int[Tensor, " n"] | None
    scales: Float[Tensor, " n"]

    def of(self, rows: Float[Tensor, "b ..."]) -> Float[Tensor, "n ..."]:
        return rows if self.rows is None else rows[self.rows]


class Lora:
    """One LoRA beside the layers of a network. It does nothing outside of `active_adapters`."""

    def __init__(
        self, network: nn.Module | None, deltas: Deltas, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Hang the deltas on the modules that they name (which must exist); without a network,
        `attach` does that later."""
        self.share: _Share | None = None
        self.device = device
        self._deltas, self._placed, self._dtype = deltas, False, dtype
        self._layers: dict[str, nn.Module] = {}
        if network is not None:
            self.attach(network)

    def attach(self, network: nn.Module) -> None:
        """Hang the deltas on this network, and on no other any more. One of the same weights, if
        they hung on one before."""
        layers = {name: network.get_submodule(name) for name in self._deltas}
        if not self._placed:  # before the first is hung: a failure leaves nothing behind
            self._deltas = {
                name: [
                    delta.placed(layer, self.device, self._dtype) for delta in self._deltas[name]
                ]
                for name, layer in layers.items()
            }
            self._placed = True
        self.detach()
        for name, layer in layers.items():
            branches = _beside(layer)
            branches.loras = {**branches.loras, self: self._deltas[name]}
        self._layers = layers

    @property
    def attached(self) -> bool:
        return bool(self._layers)

    def detach(self) -> None:
        """Take every branch away. The layers are as if they had never been."""
        for layer in self._layers.values():
            branches = _beside(layer)
            branches.loras = {lora: d for lora, d in branches.loras.items() if lora is not self}
            if not branches.loras:
                branches.remove()
        self._layers = {}


@contextmanager
def active_adapters(rows: Sequence[Sequence[tuple[Lora, float]]]) -> Iterator[None]:
    """While this lasts, row i of a call takes the LoRAs of rows[i], each at its scale.

    Flux1Error if one of them is not attached any more.
    """
    wanted: dict[Lora, list[tuple[int, float]]] = {}
    for i, row in enumerate(rows):
        for lora, scale in row:
            wanted.setdefault(lora, []).append((i, scale))
    if not all(lora.attached for lora in wanted):
        raise Flux1Error("loras: one was unloaded while a picture that uses it was drawn")
    try:
        for lora, takers in wanted.items():
            places, scales = zip(*takers, strict=True)
            whole = list(places) == list(range(len(rows)))
            lora.share = _Share(
                None if whole else torch.tensor(places, device=lora.device),
                torch.tensor(scales, dtype=torch.float32, device=lora.device),
            )
        yield
    finally:
        for lora in wanted:
            lora.share = None


def merged(
    kind: str, tensor: Float[Tensor, "..."], deltas: Sequence[Delta], scale: float
) -> Float[Tensor, "..."]:
    """A layer's parameter (`kind`: weight, bias, or a norm's scale) with the deltas in it, added in
    fp32 and cast back. A weight grows zero columns where a LoRA reads more inputs than it has."""
    own = tensor.float()
    total = own.clone()
    for delta in deltas:
        if isinstance(delta, NormDelta):
            if kind == "scale":
                vector = delta.vector.float()
                total += vector - own if delta.replaces else scale * vector
        elif kind == "bias" and delta.bias is not None:
            total[delta.start : delta.stop] += scale * delta.bias.float()
        elif kind == "weight" and (change := delta.weight(own)) is not None:
            total = F.pad(total, (0, max(0, change.shape[1] - total.shape[1])))
            total[delta.start : delta.stop, : change.shape[1]] += scale * change
    return total.to(tensor.dtype)


class _Beside:
    """The branches at one layer: hung there with the first LoRA, gone with the last."""

    def __init__(self, layer: nn.Module) -> None:
        self.loras: dict[Lora, Sequence[Delta]] = {}  # replaced, not changed: a call may be reading
        self._layer = layer
        self._x: Tensor | None = None
        self._handles = [
            layer.register_forward_pre_hook(self._before),
            layer.register_forward_hook(self._after),
        ]
        layer.__dict__["beside"] = self  # no part of the network

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        del self._layer.__dict__["beside"]

    def _before(self, layer: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        """Inputs that only a branch reads (a control picture's) do not reach the layer."""
        if not any(delta.wide for deltas in self.loras.values() for delta in deltas):
            return None
        (self._x,) = args
        return (self._x[..., : layer.in_features],)

    def _after(self, layer: nn.Module, args: tuple[Tensor], y: Tensor) -> Tensor:
        present = [(lora.share, deltas) for lora, deltas in self.loras.items() if lora.share]
        x, self._x = args[0] if self._x is None else self._x, None
        plain = y
        if any(delta.reads_plain for _, deltas in present for delta in deltas):
            y = y.clone()
        for share, deltas in present:
            scales = share.scales.reshape(-1, *[1] * (y.ndim - 1))
            for delta in deltas:
                seen = x if delta.wide else args[0]
                out = delta.output(share.of(seen), share.of(plain), layer)
                if not delta.in_full:
                    out = (out * scales).to(y.dtype)
                band = y if isinstance(delta, NormDelta) else y[..., delta.start : delta.stop]
                if share.rows is None:
                    band += out
                else:
                    band.index_add_(0, share.rows, out)
        return y


def _beside(layer: nn.Module) -> _Beside:
    return layer.__dict__.get("beside") or _Beside(layer)
