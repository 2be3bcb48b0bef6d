"""`/v1/requests`: what was asked, what came of it, and its end on demand. Also `/v1/usage`."""

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from flux1.errors import RequestError
from flux1.server.auth import Reader, UsageReader, Writer
from flux1.server.csv_text import as_csv
from flux1.server.erasing import end_or_erase
from flux1.server.fields import NOTES
from flux1.server.generation import Generation
from flux1.server.ids import plain_id, plain_words
from flux1.server.links import signed_link
from flux1.server.parts import parts_of
from flux1.server.problems import ErrorEnvelope, Problem, not_found
from flux1.store.requests import RequestStatus, StoredPicture, StoredRequest

router = APIRouter(tags=["requests"])
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorEnvelope, "description": "A parameter cannot be honoured."},
    401: {"model": ErrorEnvelope, "description": "No key, or one that opens nothing."},
    403: {"model": ErrorEnvelope, "description": "The key lacks the scope."},
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    **_PROBLEMS,
    404: {"model": ErrorEnvelope, "description": "No request of that id is yours."},
}


Day = Annotated[
    str | None, Query(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="YYYY-MM-DD, included.")
]


class PictureData(BaseModel):
    """A picture that is kept. `url` works for a while; ask again for a new one."""

    id: str
    index: int
    seed: int
    width: int
    height: int
    media_type: str
    size_bytes: int
    sha256: str
    url: str | None
    erased: bool


class Place(BaseModel):
    """The place of a waiting request in the queue."""

    ahead: int
    seconds: float


class RequestData(BaseModel):
    """A request as the audit knows it."""

    id: str
    object: Literal["request"] = "request"
    api: str
    status: RequestStatus
    asynchronous: bool
    asked_model: str
    model: str
    model_hash: str
    key_id: str | None
    request_id: str
    prompt: str
    parameters: dict[str, Any]
    output: dict[str, Any]
    notes: list[str] = Field(description=NOTES)
    safety: dict[str, Any]
    timings: dict[str, float]
    error_code: str | None
    error_message: str | None
    created: datetime
    started: datetime | None
    finished: datetime | None
    place: Place | None
    progress: float | None = Field(
        ge=0, le=1, description="The share of the model's work done; null if it ended early."
    )
    pictures: list[PictureData]


class RequestList(BaseModel):
    """Newest first. `before` of the next page is `next`; null: there is no more."""

    object: Literal["list"] = "list"
    data: list[RequestData]
    next: str | None


class DayData(BaseModel):
    day: date
    images: int
    megapixels: float
    requests: int


class UsageData(BaseModel):
    """Days of UTC, oldest first."""

    data: list[DayData]


_OF_THE_ROW = RequestData.model_fields.keys() - {"object", "place", "progress", "pictures"}


def request_data(request: Request, stored: StoredRequest, progress: float | None) -> RequestData:
    """A row as data. `progress` is that of an open one."""
    if stored.finished is not None:
        progress = 1.0 if stored.status == "succeeded" else None
    waiting = parts_of(request).engine.place(stored.id) if stored.finished is None else None
    return RequestData(
        **{name: getattr(stored, name) for name in _OF_THE_ROW},
        place=None if waiting is None else Place(ahead=waiting.ahead, seconds=waiting.seconds),
        progress=progress,
        pictures=[_picture_data(request, picture) for picture in stored.pictures],
    )


def _picture_data(request: Request, picture: StoredPicture) -> PictureData:
    return PictureData(
        id=picture.id,
        index=picture.index,
        seed=picture.seed,
        width=picture.width,
        height=picture.height,
        media_type=picture.media_type,
        size_bytes=picture.size_bytes,
        sha256=picture.sha256,
        url=None if picture.erased else signed_link(request, picture)[0],
        erased=picture.erased is not None,
    )


@router.get("/v1/requests", responses=_PROBLEMS, operation_id="list_requests")
async def search(
    request: Request,
    caller: Reader,
    text: Annotated[str, Query(max_length=200, description="Words of the prompt, or an id.")] = "",
    status: RequestStatus | None = None,
    before: Annotated[str | None, Query(max_length=200, description="`next` of a page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> RequestList:
    """Your requests, newest first."""
    generation: Generation = request.app.state.generation
    progress = {
        stored.stored.id: generation.progress(stored.stored.id)
        for stored in generation.open_requests()
    }
    requests = await run_in_threadpool(
        lambda: parts_of(request).store.requests.search(
            account_id=caller.account.id,
            text=plain_words(text),
            status=status,
            before=before,
            limit=limit,
        )
    )
    following = requests[-1].cursor if len(requests) == limit else None
    return RequestList(
        data=[request_data(request, stored, progress.get(stored.id)) for stored in requests],
        next=following,
    )


@router.get("/v1/requests/{job_id}", responses=_NOT_FOUND, operation_id="get_request")
async def look_up(request: Request, job_id: str, caller: Reader) -> RequestData:
    """One of your requests."""
    generation: Generation = request.app.state.generation
    progress = generation.progress(job_id)
    return request_data(request, await _own(request, job_id, caller.account.id), progress)


@router.delete(
    "/v1/requests/{job_id}",
    status_code=204,
    response_class=Response,
    responses=_NOT_FOUND,
    operation_id="delete_request",
)
async def end(request: Request, job_id: str, caller: Writer) -> Response:
    """Cancel a request that is open; erase the words and pictures of one that has ended."""
    stored = await _own(request, job_id, caller.account.id)
    await end_or_erase(request, stored)
    return Response(status_code=204)


async def _own(request: Request, job_id: str, account_id: str) -> StoredRequest:
    stored = await run_in_threadpool(
        parts_of(request).store.requests.get, plain_id(job_id), account_id
    )
    if stored is None:
        raise not_found("request of that id among yours")
    return stored


@router.get("/v1/usage", responses=_PROBLEMS, operation_id="get_usage")
async def usage(
    request: Request, caller: UsageReader, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> UsageData:
    """Pictures, megapixels and requests by day."""
    rows = await run_in_threadpool(parts_of(request).store.usage.by_day, caller.account.id, days)
    return UsageData(
        data=[
            DayData(day=day, images=images, megapixels=megapixels, requests=requests)
            for day, images, megapixels, requests in rows
        ]
    )


@router.get(
    "/v1/usage.csv",
    response_class=Response,
    responses={**_PROBLEMS, 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    operation_id="export_usage",
)
async def usage_file(
    request: Request,
    caller: UsageReader,
    since: Day = None,
    until: Day = None,
) -> Response:
    """Every request that drew something, as comma-separated values."""
    last = _day("until", until) or datetime.now(UTC).date()
    first = _day("since", since) or last.replace(day=1)
    if first > last:
        raise Problem(400, f"since: {first} is after until, {last}", "invalid_value", param="since")
    store = parts_of(request).store
    rows = await run_in_threadpool(lambda: list(store.usage.export(caller.account.id, first, last)))
    return Response(as_csv(rows), media_type="text/csv; charset=utf-8")


def _day(field: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as failure:
        raise RequestError(field, f"{text!r} is not a day ({failure})") from None
