"""OpenAI's Images API: what came of a request in its words, in one answer or as events."""

import base64
import io
from typing import Any, Literal

from pydantic import BaseModel, Field

from flux1.events import Preview
from flux1.server.ask import Ask, request_of
from flux1.server.fields import NOTES
from flux1.server.open_request import Kept
from flux1.server.ports import Model
from flux1.store.requests import StoredRequest


class ImageData(BaseModel):
    """One picture: `b64_json` or `url`, and what draws it again."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None
    id: str
    index: int
    seed: int
    expires_at: int | None = Field(None, description="When the url stops working (Unix time).")


class InputTokensDetails(BaseModel):
    text_tokens: int
    image_tokens: int


class ImageUsage(BaseModel):
    """Tokens that the transformer reads: words in, picture patches out."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    total_tokens: int


class Timings(BaseModel):
    """Seconds."""

    queue_s: float
    draw_s: float
    total_s: float


class ImagesResponse(BaseModel):
    """The answer of `POST /v1/images/generations`."""

    id: str = Field(description="Look the request up at /v1/requests/{id}.")
    created: int
    model: str = Field(description="The model that drew, whatever name was asked for.")
    data: list[ImageData]
    size: str
    quality: str
    output_format: str
    background: Literal["opaque"] = "opaque"
    parameters: dict[str, Any] = Field(description="The request, complete.")
    notes: list[str] = Field(description=NOTES)
    usage: ImageUsage
    timings: Timings


def usage_of(stored: StoredRequest, model: Model, images: int) -> ImageUsage:
    """Counted, not estimated: the encoder's tokens of the prompt, a token for each patch of
    `images` pictures."""
    request = request_of(stored)
    words = sum(model.count_tokens(text) for text in request.words.values())
    drawn = images * model.variant.tokens(request).image
    details = InputTokensDetails(text_tokens=words, image_tokens=0)
    return ImageUsage(
        input_tokens=words,
        input_tokens_details=details,
        output_tokens=drawn,
        total_tokens=words + drawn,
    )


def image_data(kept: Kept, link: tuple[str, int] | None) -> ImageData:
    """A picture in the answer: by its link and the time that it expires, or inside."""
    picture = kept.picture
    inside = base64.b64encode(kept.data).decode() if link is None else None
    url, expires = (None, None) if link is None else link
    return ImageData(
        b64_json=inside, url=url, id=picture.id, index=picture.index, seed=picture.seed,
        expires_at=expires,
    )  # fmt: skip


def answer(stored: StoredRequest, data: list[ImageData], model: Model) -> ImagesResponse:
    asked = stored.parameters
    return ImagesResponse(
        id=stored.id,
        created=int(stored.created.timestamp()),
        model=stored.model,
        data=data,
        size="x".join(str(asked[side] * asked.get("upscale", 1)) for side in ("width", "height")),
        quality=stored.output["labels"].get("quality", "auto"),
        output_format=stored.output["format"],
        parameters=asked,
        notes=stored.notes,
        usage=usage_of(stored, model, len(data)),
        timings=Timings(**stored.timings),
    )


def partial_image(stored: StoredRequest, preview: Preview, ask: Ask) -> dict[str, Any]:
    """The event of a preview."""
    buffer = io.BytesIO()
    preview.picture.save(buffer, ask.output.format.upper())
    return {
        "type": "image_generation.partial_image",
        "b64_json": base64.b64encode(buffer.getvalue()).decode(),
        "partial_image_index": preview.index,
        "step": preview.step,
        "steps": preview.steps,
        **_common(stored, preview.image, *preview.picture.size, ask),
    }


def completed_image(stored: StoredRequest, kept: Kept, ask: Ask) -> dict[str, Any]:
    """The event of a picture that is there."""
    picture = kept.picture
    return {
        "type": "image_generation.completed",
        "b64_json": base64.b64encode(kept.data).decode(),
        "seed": picture.seed,
        "image_id": picture.id,
        "usage": usage_of(stored, ask.model, images=1).model_dump(),
        "notes": stored.notes,
        **_common(stored, picture.index, picture.width, picture.height, ask),
    }


def _common(stored: StoredRequest, image: int, width: int, height: int, ask: Ask) -> dict[str, Any]:
    return {
        "created_at": int(stored.created.timestamp()),
        "size": f"{width}x{height}",
        "quality": ask.labels.get("quality", "auto"),
        "background": "opaque",
        "output_format": ask.output.format,
        "image_index": image,
        "id": stored.id,
        "model": stored.model,
    }
