"""The fields of bodies, in whatever format: their types, the table of knobs as fields, and what all
formats refuse."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, create_model

from flux1.errors import RequestError, nearest
from flux1.knobs import KNOBS, Knob
from flux1.variants import Variant

MOST_FIELDS = 64
NOTES = "What to know of it: words that the model never learnt, a size it was not trained at."
ASPECT_RATIOS = (
    "1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21",
)  # fmt: skip


def _integral(value: Any) -> Any:
    """JSON has one kind of number: 4.0 is as whole as 4."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _wide(value: Any) -> Any:
    """A whole number is a number too, unless it is too large to be one."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return float(value)
    return value


Whole = Annotated[int, Field(strict=True), BeforeValidator(_integral)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False), BeforeValidator(_wide)]
Text = Annotated[str, Field(strict=True)]
Label = Annotated[str, Field(strict=True, max_length=512)]
Flag = Annotated[bool, Field(strict=True)]


def knob_fields(*names: str) -> Any:
    """A model with the fields of these knobs, or of all: what a body that reads them extends."""
    rows: dict[str, Any] = {knob.name: _knob_field(knob) for knob in KNOBS}
    return create_model("KnobFields", **{name: rows[name] for name in names or rows})


def _knob_field(knob: Knob) -> tuple[Any, Any]:
    """The type and the limits of a knob, as a body's field."""
    match knob.kind:
        case "whole":
            return Whole | None, Field(None, ge=knob.low, le=knob.high, description=knob.about)
        case "number":
            return Number | None, Field(None, ge=knob.low, le=knob.high, description=knob.about)
        case "text":
            return Text | None, Field(None, max_length=knob.high, description=knob.about)
    words = Literal[knob.choices]  # type: ignore[name-defined]
    counted = isinstance(knob.choices[0], int)
    known: Any = Annotated[words, BeforeValidator(_integral)] if counted else words
    return known | None, Field(None, description=knob.about)


def check_fields(body: dict[Any, Any]) -> None:
    """RequestError unless a body's fields are few, and their text is text."""
    if len(body) > MOST_FIELDS:
        raise RequestError("body", f"has {len(body)} fields, at most {MOST_FIELDS} are read")
    for field, value in body.items():
        check_text(field, value)


def refuse_unknown(body: dict[Any, Any], known: Iterable[str], also: Iterable[str] = ()) -> None:
    """Nothing is ignored silently (RequestError). `also` are names that are offered instead."""
    known = tuple(known)
    unknown = next((field for field in body if field not in known), None)
    if unknown is not None:
        near = nearest(unknown, (*known, *also))
        raise RequestError(unknown[:100], f"is not a parameter that this server knows{near}")


def check_text(field: str, value: Any) -> None:
    """Refuse characters that no database or file could keep."""
    for text in (field, value):
        if isinstance(text, str) and ("\0" in text or not _encodes(text)):
            raise RequestError(ascii(field)[1:-1][:100], "holds characters that are not text")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def of_ratio(ratio: str, variant: Variant) -> tuple[int, int]:
    """Sides of that ratio, to the model's multiple, with about its usual number of pixels."""
    across, _, down = ratio.partition(":")
    usual, multiple = variant.defaults.width * variant.defaults.height, variant.size_multiple
    width = math.sqrt(usual * int(across) / int(down))
    height = usual / width
    return tuple(max(multiple, round(side / multiple) * multiple) for side in (width, height))  # type: ignore[return-value]


def embedded_or_classifier_free(
    guidance: float | None, true_cfg: float | None, variant: Variant
) -> tuple[float | None, float | None]:
    """The distilled scale and the classifier-free one. A network that is not told a scale follows
    the prompt by the latter, so there `guidance` means it."""
    if guidance is None or variant.transformer.guidance_embed:
        return guidance, true_cfg
    if true_cfg is not None:
        raise RequestError("guidance", f"means the same as true_cfg for {variant.id}; send one")
    if guidance < 1:
        raise RequestError("guidance", f"{guidance:g} is below 1; nearest: 1")
    return None, guidance
