"""The settings that a request may turn beside its words, size and seed: one frozen row a knob.

The check of a request, the command line's options, the API's body, the playground's form and the
command that `flux1 info` prints all read this table, so that a knob has one name, one range and one
sentence everywhere.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from flux1.errors import RequestError, nearest
from flux1.flow.shift import Spacing
from flux1.flow.solvers import SOLVERS
from flux1.variants import Variant

MAX_STEPS = 1000
MAX_PROMPT_CHARACTERS = 32_000
UPSCALES = (1, 2, 4)


@dataclass(frozen=True)
class Knob:
    """One setting of a request. `name` is its field everywhere, `label` what forms call it, `about`
    one sentence for people. `usual` gives a model's own value. Numbers lie from `low` to `high`;
    a choice is one of `choices`. Forms show a `plain` knob at once, the others on demand, and say
    `unset` where nothing is chosen."""

    name: str
    label: str
    about: str
    kind: Literal["whole", "number", "text", "choice"]
    usual: Callable[[Variant], Any]
    low: int = 0
    high: int = 100
    choices: tuple[str | int, ...] = ()
    plain: bool = False
    unset: str = "model's own"

    def value(self, given: object, variant: Variant) -> Any:
        """The value that was given, checked; the model's own for None. RequestError."""
        return self.usual(variant) if given is None else self._check(given)

    def _check(self, given: object) -> Any:
        match self.kind:
            case "whole":
                return in_range(self.name, whole(self.name, given), self.low, self.high)
            case "number":
                return finite(self.name, number(self.name, given), self.low, self.high)
            case "text":
                return text(self.name, given)
            case "choice":
                return choice(self.name, given, self.choices)


KNOBS = (
    Knob(
        "steps", "Steps", "Solver steps.", "whole", lambda v: v.defaults.steps, low=1,
        high=MAX_STEPS,
    ),
    Knob(
        "guidance", "Guidance",
        "Embedded guidance scale of distilled models (FLUX.1 dev: 3.5). Costs nothing.",
        "number", lambda v: v.defaults.guidance,
    ),
    Knob(
        "true_cfg", "Classifier-free guidance",
        "Classifier-free guidance scale; above 1 it doubles the work.",
        "number", lambda v: v.defaults.true_cfg, low=1,
    ),
    Knob(
        "negative_prompt", "Negative prompt",
        "What to move away from; needs classifier-free guidance above 1.",
        "text", lambda v: "", high=MAX_PROMPT_CHARACTERS,
    ),
    Knob(
        "solver", "Solver", f"One of {', '.join(SOLVERS)}.", "choice", lambda v: v.defaults.solver,
        choices=tuple(SOLVERS),
    ),
    Knob(
        "schedule", "Schedule",
        f"How the steps are spread over the path: {', '.join(get_args(Spacing))}.",
        "choice", lambda v: v.schedule.spacing, choices=get_args(Spacing),
    ),
    Knob(
        "upscale", "Enlarge", "2 or 4: enlarge what was drawn.", "choice", lambda v: 1,
        choices=UPSCALES, plain=True, unset="as it is drawn",
    ),
)  # fmt: skip


def whole(field: str, value: object) -> int:
    """An int, or what counts as one (numpy's), but not a truth value. RequestError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(field, f"{value!r} is not a whole number") from None


def number(field: str, value: object) -> float:
    """A float, or an int. RequestError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RequestError(field, f"{value!r} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise RequestError(field, "is too large") from None


def text(field: str, value: object) -> str:
    """Text that can be stored and encoded. RequestError."""
    if not isinstance(value, str):
        raise RequestError(field, f"must be text, not {type(value).__name__}; one prompt a call")
    if len(value) > MAX_PROMPT_CHARACTERS:
        limit = MAX_PROMPT_CHARACTERS
        raise RequestError(field, f"has {len(value)} characters, at most {limit} are read")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RequestError(field, "holds bytes that are not UTF-8 text") from None
    if "\0" in value:
        raise RequestError(field, "holds a NUL character, which is not text")
    return value


def choice(field: str, value: object, choices: tuple[str | int, ...]) -> str | int:
    """One of these words, or of these whole numbers. RequestError names the nearest."""
    known = ", ".join(map(str, choices))
    if isinstance(choices[0], int):
        count, sizes = whole(field, value), [one for one in choices if isinstance(one, int)]
        if count not in sizes:
            near = min(sizes, key=lambda one: abs(one - count))
            raise RequestError(field, f"{count} is not one of {known}; nearest: {near}")
        return count
    words = [str(one) for one in choices]
    if not isinstance(value, str) or value not in words:
        raise RequestError(field, f"{value!r} is not one of {known}{nearest(str(value), words)}")
    return value


def in_range(field: str, value: int, low: int, high: int) -> int:
    """A whole number from `low` to `high`. RequestError names the nearest."""
    if not low <= value <= high:
        near = min(max(value, low), high)
        raise RequestError(field, f"{value} is not from {low} to {high}; nearest: {near}")
    return value


def finite(field: str, value: float, low: float, high: float) -> float:
    """A finite number from `low` to `high`. RequestError names the nearest."""
    if not (math.isfinite(value) and low <= value <= high):
        near = min(max(value, low), high) if math.isfinite(value) else low
        raise RequestError(field, f"{value:g} is not from {low:g} to {high:g}; nearest: {near:g}")
    return value
