"""Modulation computed beforehand: one call for many evaluations, and calls that take it from there.

What modulates the blocks depends on time, guidance and pooled text alone, so that of a whole
schedule can be had before the first step. Its layers are a quarter of FLUX.1's weights: where they
are stored in another form, or in a file, they are then decoded once and not in each call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor

from flux1.model.blocks import Modulation
from flux1.model.stored import StoredLinear
from flux1.model.transformer import Transformer


def modulation_is_stored(transformer: Transformer) -> bool:
    """Return whether the layers of the modulation keep their weights in another form."""
    first = next((part for part in transformer.modules() if isinstance(part, Modulation)), None)
    return first is not None and isinstance(first.lin, StoredLinear)


def modulation(
    transformer: Transformer,
    t: Float[Tensor, " b"],
    pooled: Float[Tensor, "b p"],
    guidance: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, "b all"]:
    """All numbers that modulate the blocks and the last layer, for these rows.

    A call that takes them has the bits of one that computes them, whatever rows share either, if
    the layers are stored; if they are not, it must be for the same rows.
    """
    vec = transformer.vector(t, pooled, guidance)
    layers = _layers(transformer)
    found = vec.new_empty(len(vec), sum(width for _, width in layers))
    places = found.split([width for _, width in layers], dim=-1)
    for (layer, _), place in zip(layers, places, strict=True):
        place.copy_(layer(vec))
    return found


@contextmanager
def modulated_by(transformer: Transformer, numbers: Float[Tensor, "b all"]) -> Iterator[None]:
    """While this lasts, a call takes these `numbers`, one row for each of its own, and does not
    compute them."""
    layers = _layers(transformer)
    parts = numbers.split([width for _, width in layers], dim=-1)
    try:
        for (layer, _), part in zip(layers, parts, strict=True):
            layer.__dict__["forward"] = lambda vec, part=part: part
        yield
    finally:
        for layer, _ in layers:
            layer.__dict__.pop("forward", None)


def _layers(transformer: Transformer) -> list[tuple[Any, int]]:
    """The modules that turn the modulation vector into numbers, and how many each gives."""
    inner = [part for part in transformer.modules() if isinstance(part, Modulation)]
    last: Any = transformer.final_layer.adaLN_modulation
    return [*((one, one.lin.out_features) for one in inner), (last, last[1].out_features)]
