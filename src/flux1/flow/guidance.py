"""Guidance: several velocities become one. A rule says which conditions a step evaluates (rows)
and how the answers combine; it knows no network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float

from flux1.flow.array import Array

Condition = Literal["prompt", "negative"]


@dataclass(frozen=True)
class Guidance:
    """`rows`: the conditions to evaluate at each point; `combine`: their velocities to one."""

    rows: tuple[Condition, ...]
    combine: Callable[[Sequence[Float[Any, "*x"]]], Float[Any, "*x"]]


def guidance_of(conditions: Sequence[Condition], true_cfg: float) -> Guidance:
    """The rule for these conditions: embedded guidance for the prompt alone, classifier-free
    guidance at scale `true_cfg` for both."""
    return classifier_free(true_cfg) if len(conditions) > 1 else embedded()


def embedded() -> Guidance:
    """The scale is an input of the network (guidance-distilled models): one row, taken as it is."""
    return Guidance(rows=("prompt",), combine=lambda velocities: velocities[0])


def classifier_free(scale: float | Float[Array, "*x"]) -> Guidance:
    """v = v_neg + scale (v_pos - v_neg) (Ho & Salimans 2022, arXiv 2207.12598): two rows.

    At scale 1 the negative row has no influence; callers use `embedded` then.
    """

    def combine(velocities: Sequence[Float[Array, "*x"]]) -> Float[Array, "*x"]:
        positive, negative = velocities
        return negative + scale * (positive - negative)

    return Guidance(rows=("prompt", "negative"), combine=combine)
