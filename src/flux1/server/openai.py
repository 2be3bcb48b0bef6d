"""OpenAI's Images API: its words to an `Ask`.

Their field names stop here and in `openai_answers.py`. Every field of theirs is honoured or
refused; the names that other FLUX services use for the same things are understood as well.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from flux1.errors import RequestError
from flux1.knobs import KNOBS, MAX_PROMPT_CHARACTERS
from flux1.request import make_request
from flux1.server.ask import Ask, Output
from flux1.server.fields import (
    ASPECT_RATIOS,
    Flag,
    Label,
    Text,
    Whole,
    check_fields,
    embedded_or_classifier_free,
    knob_fields,
    of_ratio,
    refuse_unknown,
)
from flux1.server.parts import Parts
from flux1.variants import Variant

MAX_IMAGES = 10
MAX_PARTIAL_IMAGES = 3

# Names that other services give to the same field. The first one is ours.
ALIASES: dict[str, tuple[str, ...]] = {
    "n": ("num_images", "num_outputs"),
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale",),
    "true_cfg": ("true_cfg_scale",),
    "output_compression": ("output_quality",),
    "size": ("image_size",),
    "upscale": ("upscale_factor",),
}
# Fields that mean something to other models and nothing to these.
_NO_EDITS = "is for models that change a picture; those served here start from words alone"
_ONE_PICTURE = "is for animations; single pictures are drawn here"
_WITHOUT_EFFECT = {
    "style": "is for DALL-E 3; say the style in the prompt",
    "complexity": "has no effect here; say what you want in the prompt",
    "frame_count": _ONE_PICTURE,
    "frame_duration_ms": _ONE_PICTURE,
    "svg": "cannot be drawn; these models make pixels",
    "image": _NO_EDITS,
    "image_prompt": _NO_EDITS,
    "mask": _NO_EDITS,
    "input_fidelity": _NO_EDITS,
    "disable_safety_checker": "cannot be set by a request; see safety_tolerance",
    "lora": "cannot be loaded by a request yet",
    "loras": "cannot be loaded by a request yet",
}
_QUALITY = {"low": 0.5, "medium": 1.0, "high": 1.5, "xhigh": 2.0, "max": 3.0, "hd": 1.5}
Quality = Literal["auto", "standard", "low", "medium", "high", "hd", "xhigh", "max"]


KnobFields: Any = knob_fields()


class ImageGenerationBody(KnobFields):
    """The body of `POST /v1/images/generations`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"required": ["prompt"]})

    prompt: Text = Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        pattern=r"\S",
        description="What to draw.",
        examples=["a castle on a pink background"],
    )
    model: Label | None = Field(
        None, description="A name of /v1/models; not set: the first.", examples=["flux-mini"]
    )
    n: Whole | None = Field(None, ge=1, le=MAX_IMAGES, description="Picture k has seed + k.")
    size: Annotated[str, Field(strict=True, pattern=r"^(auto|[0-9]{1,5}x[0-9]{1,5})$")] | None = (
        Field(None, description="WIDTHxHEIGHT, or auto.", examples=["256x256"])
    )
    width: Whole | None = Field(None, ge=1, le=16384, description="With height, in place of size.")
    height: Whole | None = Field(None, ge=1, le=16384)
    aspect_ratio: Literal[ASPECT_RATIOS] | None = Field(  # type: ignore[valid-type]
        None, description="In place of size, at the model's usual number of pixels."
    )
    seed: Whole | None = Field(
        None, ge=-1, le=2**53 - 1, description="Not set, or -1: drawn at random."
    )
    quality: Quality | None = Field(
        None, description="In place of steps: a multiple of the model's usual number."
    )
    background: Literal["auto", "opaque"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Whole | None = Field(
        None, ge=0, le=100, description="Quality of jpeg and webp."
    )
    response_format: Literal["url", "b64_json"] | None = None
    moderation: Literal["auto", "low"] | None = None
    safety_tolerance: Whole | None = Field(
        None, ge=0, le=6, description="0 is strict; the key may allow less."
    )
    enable_safety_checker: Literal[True] | None = None
    prompt_upsampling: Literal[False] | None = None
    enhance_prompt: Literal[False] | None = None
    stream: Flag | None = None
    partial_images: Whole | None = Field(
        None, ge=0, le=MAX_PARTIAL_IMAGES, description="Previews of each picture; with stream."
    )
    priority: Whole | None = Field(
        None, ge=-10, le=10, description="Among your own requests, higher goes first."
    )
    safety_identifier: Label | None = Field(None, description="Your user, kept in the audit.")
    user: Label | None = Field(None, description="Older name of safety_identifier.")

    @model_validator(mode="before")
    @classmethod
    def _understand(cls, body: Any) -> Any:
        """Other services' names to ours; what can have no effect is refused by name."""
        if not isinstance(body, dict):
            return body
        check_fields(body)
        read = dict(body)
        for field, why in _WITHOUT_EFFECT.items():
            if read.pop(field, None) not in (None, False):
                raise RequestError(field, why)
        for ours, others in ALIASES.items():
            for other in others:
                if other not in read:
                    continue
                value = read.pop(other)
                if read.get(ours) is not None and value is not None:
                    raise RequestError(other, f"means the same as {ours}; send one of them")
                if value is not None:
                    read[ours] = value
        if isinstance(read.get("size"), dict):
            sides = read.pop("size")
            if set(sides) != {"width", "height"}:
                raise RequestError("image_size", "as an object has a width and a height")
            if read.keys() & sides.keys():
                raise RequestError("image_size", "and width and height say the same; send one")
            read |= sides
        _explain_refused(read)
        also = (other for names in ALIASES.values() for other in names)
        refuse_unknown(read, cls.model_fields, also)
        return read


def _explain_refused(read: dict[Any, Any]) -> None:
    """Values of OpenAI's that these models cannot honour, with the reason."""
    if read.get("background") == "transparent":
        raise RequestError("background", "'transparent' cannot be drawn; nearest: 'opaque'")
    if read.get("output_format") in ("gif", "svg"):
        raise RequestError(
            "output_format", f"{read['output_format']!r} cannot be made; nearest: 'png'"
        )
    if read.get("enable_safety_checker") is False:
        raise RequestError("enable_safety_checker", "cannot be turned off; see safety_tolerance")
    for field in ("prompt_upsampling", "enhance_prompt"):
        if read.get(field) is True:
            raise RequestError(field, "is not offered: the prompt is drawn as it is written")
    if read.get("output_format") == "jpg":
        read["output_format"] = "jpeg"


def to_ask(body: ImageGenerationBody, parts: Parts, tolerance_limit: int) -> Ask:
    """The request that a body means. RequestError, UnknownModelError."""
    model = parts.default_model if body.model is None else parts.model(body.model)
    variant = model.variant
    width, height = _size(body, variant)
    guidance, true_cfg = embedded_or_classifier_free(body.guidance, body.true_cfg, variant)
    knobs = {knob.name: getattr(body, knob.name) for knob in KNOBS}
    knobs |= {"steps": _steps(body, variant), "guidance": guidance, "true_cfg": true_cfg}
    seed = None if body.seed == -1 else body.seed
    request = make_request(
        variant, body.prompt, width=width, height=height, seed=seed, num_images=body.n or 1,
        **knobs,
    )  # fmt: skip
    if body.partial_images and not body.stream:
        raise RequestError("partial_images", "needs stream: true")
    if body.response_format == "url" and body.stream:
        raise RequestError("response_format", "'url' cannot be streamed; nearest: 'b64_json'")
    labels = {
        "safety_identifier": body.safety_identifier or body.user,
        "quality": body.quality,
        "response_format": body.response_format,
    }
    return Ask(
        model,
        body.model or model.variant.id,
        request,
        _output(body),
        _tolerance(body, tolerance_limit),
        previews=body.partial_images or 0,
        priority=body.priority or 0,
        labels={k: v for k, v in labels.items() if v is not None},
    )


def _size(body: ImageGenerationBody, variant: Variant) -> tuple[int | None, int | None]:
    sides = (body.width, body.height)
    ways = [body.size is not None, sides != (None, None), body.aspect_ratio is not None]
    if sum(ways) > 1:
        raise RequestError("size", "size, width and height, and aspect_ratio say it; send one")
    if body.aspect_ratio is not None:
        return of_ratio(body.aspect_ratio, variant)
    if body.size is None or body.size == "auto":
        if None in sides and sides != (None, None):
            missing = "height" if body.height is None else "width"
            raise RequestError(missing, "is missing: width and height come together")
        return sides
    width, _, height = body.size.partition("x")
    return int(width), int(height)


def _steps(body: ImageGenerationBody, variant: Variant) -> int | None:
    factor = _QUALITY.get(body.quality or "auto")
    if factor is None:
        return body.steps
    if body.steps is not None:
        raise RequestError("quality", f"{body.quality!r} and steps both say how long; send one")
    return max(1, math.ceil(variant.defaults.steps * factor))


def _output(body: ImageGenerationBody) -> Output:
    format = body.output_format or "png"
    if format == "png" and body.output_compression not in (None, 100):
        raise RequestError(
            "output_compression", f"{body.output_compression} is for jpeg and webp; png is lossless"
        )
    return Output(format, None if format == "png" else body.output_compression)


def _tolerance(body: ImageGenerationBody, limit: int) -> int:
    wanted = body.safety_tolerance
    if wanted is None:
        return min(limit, 5 if body.moderation == "low" else 2)
    if wanted > limit:
        raise RequestError("safety_tolerance", f"{wanted} is more than this key's {limit}")
    if body.moderation is not None:
        raise RequestError("moderation", "and safety_tolerance say the same; send one")
    return wanted
