"""The form that every wire format is read into: an `Ask`, and the row that keeps it."""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter

from flux1.request import ImageRequest
from flux1.safety.verdict import Verdict
from flux1.server.arrival import Arrival
from flux1.server.auth import Caller
from flux1.server.ports import Model
from flux1.store.requests import NewRequest, StoredRequest

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
_REQUESTS = TypeAdapter(ImageRequest)


@dataclass(frozen=True)
class Output:
    """The files to make of the pictures. `quality` 0..100 is for jpeg and webp."""

    format: str = "png"
    quality: int | None = None

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]


@dataclass(frozen=True)
class Ask:
    """The form that every wire format is read into. `labels` are kept in the audit as they came."""

    model: Model
    asked_model: str
    request: ImageRequest
    output: Output
    tolerance: int
    previews: int = 0
    priority: int = 0
    webhook_url: str | None = None
    webhook_secret: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def megapixels(self) -> float:
        width, height = self.request.finished_size
        return self.request.num_images * width * height / 1e6


def new_request(
    ask: Ask, caller: Caller, arrival: Arrival, verdict: Verdict, notes: Sequence[str] = ()
) -> NewRequest:
    """The row of an ask. `verdict` is the one on its words, `notes` is what the answer says of
    them."""
    return NewRequest(
        id=f"req_{secrets.token_hex(12)}",
        account_id=caller.account.id,
        key_id=None if caller.key is None else caller.key.id,
        api=arrival.api,
        asynchronous=arrival.asynchronous,
        asked_model=ask.asked_model,
        model=ask.model.variant.id,
        model_hash=ask.model.origin.model_hash,
        prompt=ask.request.prompt,
        parameters=_REQUESTS.dump_python(ask.request, mode="json"),
        output={
            **asdict(ask.output),
            "previews": ask.previews,
            "address": arrival.address,
            "labels": ask.labels,
            "notes": list(notes),
        },
        request_id=arrival.request_id,
        idempotency_key=arrival.idempotency_key,
        body_hash=arrival.body_hash,
        safety={
            "tolerance": ask.tolerance,
            "prompt": {"blocked": list(verdict.categories), "scores": dict(verdict.scores)},
        },
        webhook_url=ask.webhook_url,
        webhook_secret=ask.webhook_secret,
        images=ask.request.num_images,
        pixels=round(ask.megapixels * 1e6),
    )


def request_of(stored: StoredRequest) -> ImageRequest:
    """The request that a row keeps. ValueError if its parameters are not one any more."""
    return _REQUESTS.validate_python(stored.parameters)


def ask_of(stored: StoredRequest, model: Model) -> Ask:
    """The ask that a row keeps, to be drawn by `model` without previews and at the usual priority.
    ValueError if its parameters are not a request any more."""
    return Ask(
        model,
        stored.asked_model,
        request_of(stored),
        Output(stored.output["format"], stored.output["quality"]),
        stored.safety.get("tolerance", 0),
        webhook_url=stored.webhook_url,
    )
