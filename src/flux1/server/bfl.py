"""BFL's own wire format: `POST /v1/flux-dev`, then `GET /v1/get_result`. Its names stop here."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flux1.errors import RequestError
from flux1.knobs import MAX_PROMPT_CHARACTERS
from flux1.request import make_request
from flux1.server.ask import Ask, Output
from flux1.server.fields import (
    ASPECT_RATIOS,
    NOTES,
    Flag,
    Number,
    Whole,
    check_fields,
    embedded_or_classifier_free,
    knob_fields,
    of_ratio,
    refuse_unknown,
)
from flux1.server.ports import Model
from flux1.store.requests import StoredRequest
from flux1.variants import Variant

WIDTH, HEIGHT = 1024, 768  # where the model can draw that
KNOWN_KNOBS = ("steps", "guidance", "upscale")  # of the table, those that BFL's format has
KnobFields: Any = knob_fields(*KNOWN_KNOBS)


class FluxBody(KnobFields):
    """The body of `POST /v1/flux-dev`."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field("", strict=True, max_length=MAX_PROMPT_CHARACTERS)
    width: Whole | None = Field(None, ge=16, le=16384)
    height: Whole | None = Field(None, ge=16, le=16384)
    aspect_ratio: Literal[ASPECT_RATIOS] | None = Field(  # type: ignore[valid-type]
        None, description="In place of width and height."
    )
    seed: Whole | None = Field(
        None, ge=-1, le=2**53 - 1, description="Not set, or -1: drawn at random."
    )
    safety_tolerance: Whole = Field(2, ge=0, le=6)
    output_format: Literal["jpeg", "png", "webp"] | None = Field(
        "jpeg", description="null is jpeg as well."
    )
    prompt_upsampling: Flag | None = Field(None, description="Only false is offered.")
    image_prompt: str | None = Field(None, max_length=64, description="Only null is offered.")
    interval: Number | None = Field(None, description="Only null is offered.")
    webhook_url: str | None = Field(None, strict=True, max_length=2083, pattern=r"^https?://\S+$")
    webhook_secret: str | None = Field(None, strict=True, min_length=1, max_length=512)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, body: Any) -> Any:
        if isinstance(body, dict):
            check_fields(body)
            refuse_unknown(body, cls.model_fields)
        return body


class Accepted(BaseModel):
    """The request waits; ask `polling_url` for what comes of it."""

    id: str
    polling_url: str
    cost: float = Field(description="Nothing is charged here: 0.")
    input_mp: float = 0.0
    output_mp: float
    notes: list[str] = Field([], description=NOTES)


Status = Literal[
    "Pending", "Ready", "Request Moderated", "Content Moderated", "Error", "Task not found"
]


class Result(BaseModel):
    """The state of a request. `result.sample` is the picture's link once it is Ready."""

    id: str
    status: Status
    result: dict[str, Any] | None = None
    progress: float | None = Field(
        default=None, ge=0, le=1, description="The share of the model's work done; 1 when Ready."
    )
    details: dict[str, Any] | None = None


def to_ask(body: FluxBody, asked_model: str, model: Model, tolerance_limit: int) -> Ask:
    """The request that a body means (RequestError)."""
    for field in ("image_prompt", "interval"):
        if getattr(body, field) is not None:
            raise RequestError(field, "is not offered: the models served here draw from words")
    if body.prompt_upsampling:
        raise RequestError("prompt_upsampling", "is not offered: the prompt is drawn as written")
    variant = model.variant
    guidance, true_cfg = embedded_or_classifier_free(body.guidance, None, variant)
    width, height = _size(body, variant)
    seed = None if body.seed == -1 else body.seed
    knobs = {name: getattr(body, name) for name in KNOWN_KNOBS}
    knobs |= {"guidance": guidance, "true_cfg": true_cfg}
    request = make_request(
        variant, body.prompt, seed=seed, width=width, height=height, **knobs,
    )  # fmt: skip
    return Ask(
        model,
        asked_model,
        request,
        Output(body.output_format or "jpeg"),
        min(body.safety_tolerance, tolerance_limit),
        webhook_url=body.webhook_url,
        webhook_secret=body.webhook_secret,
    )


def _size(body: FluxBody, variant: Variant) -> tuple[int | None, int | None]:
    if body.aspect_ratio is not None:
        if (body.width, body.height) != (None, None):
            raise RequestError("aspect_ratio", "and width and height say the same; send one")
        return of_ratio(body.aspect_ratio, variant)
    roomy = variant.max_pixels >= WIDTH * HEIGHT
    return body.width or (WIDTH if roomy else None), body.height or (HEIGHT if roomy else None)


def result_of(stored: StoredRequest, sample: str | None, progress: float | None = None) -> Result:
    """A row in BFL's words. `progress` is that of an open one."""
    match stored.status:
        case "queued" | "running":
            return Result(id=stored.id, status="Pending", progress=progress)
        case "succeeded" if sample is not None:
            return Result(
                id=stored.id, status="Ready", progress=1.0, result=_sample(stored, sample)
            )
        case "succeeded":
            return Result(id=stored.id, status="Task not found", details={"reason": "erased"})
        case "blocked":
            of_words = bool(stored.safety.get("prompt", {}).get("blocked"))
            status: Status = "Request Moderated" if of_words else "Content Moderated"
            reasons = [
                category
                for verdict in stored.safety.values()
                if isinstance(verdict, dict)
                for category in verdict.get("blocked", [])
            ]
            return Result(id=stored.id, status=status, details={"Moderation Reasons": reasons})
        case _:
            details = {"code": stored.error_code, "message": stored.error_message}
            return Result(id=stored.id, status="Error", details=details)


def _sample(stored: StoredRequest, link: str) -> dict[str, Any]:
    def seconds(moment: datetime | None) -> float | None:
        return None if moment is None else moment.timestamp()

    return {
        "sample": link,
        "prompt": stored.prompt,
        "seed": stored.pictures[0].seed,
        "start_time": seconds(stored.started),
        "end_time": seconds(stored.finished),
        "duration": stored.timings.get("total_s"),
        "model": stored.model,
        "width": stored.pictures[0].width,
        "height": stored.pictures[0].height,
        "notes": stored.notes,
    }
