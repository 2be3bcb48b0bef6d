"""The audit: what was asked, when, by which key, and what came of it."""

from datetime import UTC, datetime
from typing import Any, get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from flux1.server.csv_text import as_csv
from flux1.server.erasing import end_or_erase
from flux1.server.generation import Generation
from flux1.server.ids import plain_id, plain_words
from flux1.server.parts import parts_of
from flux1.server.problems import Problem, not_found
from flux1.server.web.render import page
from flux1.server.web.sessions import Posted, SignedIn
from flux1.store.accounts import Session
from flux1.store.requests import RequestStatus, StoredRequest

router = APIRouter(include_in_schema=False)
STATUSES: tuple[RequestStatus, ...] = get_args(RequestStatus)
PAGE = 30
MOST_EXPORTED = 10_000
_OPEN = ("queued", "running")


@router.get("/requests")
async def requests(
    request: Request,
    session: SignedIn,
    text: str = "",
    status: str = "",
    everyone: bool = False,
    before: str = "",
) -> Response:
    """Newest first: one's own, or `everyone`'s for the administrator."""
    whose = _whose(session, everyone)
    found = await _search(request, whose, text, status, plain_id(before) if before else None, PAGE)
    people = await _people(request) if everyone else {}
    following = found[-1].cursor if len(found) == PAGE else None
    query = {"text": text, "status": status, "everyone": "true" if everyone else ""}
    return page(
        request, "requests.html", requests=found, following=following, text=text, chosen=status,
        statuses=STATUSES, everyone=everyone, people=people, before=before,
        query={name: value for name, value in query.items() if value},
    )  # fmt: skip


@router.get("/requests.csv")
async def export(
    request: Request, session: SignedIn, text: str = "", status: str = "", everyone: bool = False
) -> Response:
    """The newest of what is searched for, as comma-separated values."""
    whose = _whose(session, everyone)
    people = await _people(request) if everyone else {session.account.id: session.account.email}
    found: list[StoredRequest] = []
    while len(found) < MOST_EXPORTED:
        cursor = found[-1].cursor if found else None
        more = await _search(request, whose, text, status, cursor, 500)
        found += more
        if len(more) < 500:
            break
    return csv_file(
        f"requests-{datetime.now(UTC):%Y-%m-%d}", [_row(stored, people) for stored in found]
    )


def csv_file(name: str, rows: list[dict[str, Any]]) -> Response:
    headers = {
        "content-disposition": f'attachment; filename="flux1-{name}.csv"',
        "cache-control": "no-store",
    }
    return Response(as_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/requests/{job_id}")
async def detail(request: Request, job_id: str, session: SignedIn) -> Response:
    """Everything that is known of one."""
    parts = parts_of(request)
    stored = await _visible(request, job_id, session)
    own = stored.account_id == session.account.id
    key = None
    if stored.key_id is not None:
        key = await run_in_threadpool(parts.store.keys.get, stored.account_id, stored.key_id)
    owner = None if own else await run_in_threadpool(parts.store.accounts.get, stored.account_id)
    is_open = stored.status in _OPEN
    verdicts = {name: verdict for name, verdict in stored.safety.items() if name != "tolerance"}
    return page(
        request, "request.html", stored=stored, own=own, key=key, owner=owner, is_open=is_open,
        waiting=parts.engine.place(stored.id) if is_open else None, verdicts=verdicts,
    )  # fmt: skip


@router.post("/requests/{job_id}/cancel")
async def cancel(request: Request, job_id: str, form: Posted) -> Response:
    """Stop the work on one's own request; what has ended stays as it is."""
    stored = await _visible(request, job_id, form.session, own=True)
    generation: Generation = request.app.state.generation
    work = generation.find(stored.id)
    if work is not None:
        generation.cancel(stored.id)
        await work.ended
    return RedirectResponse(f"/requests/{stored.id}", 303)


@router.post("/requests/{job_id}/erase")
async def erase(request: Request, job_id: str, form: Posted) -> Response:
    """Forget the words and pictures of one's own request."""
    stored = await _visible(request, job_id, form.session, own=True)
    if stored.status in _OPEN:
        raise Problem(409, "this request is still open; cancel it first", "still_open")
    await end_or_erase(request, stored)
    return RedirectResponse(f"/requests/{stored.id}", 303)


async def _visible(
    request: Request, job_id: str, session: Session, own: bool = False
) -> StoredRequest:
    """One's own, or anybody's for the administrator who only looks."""
    account = session.account
    whose = None if account.administrator and not own else account.id
    stored = await run_in_threadpool(parts_of(request).store.requests.get, plain_id(job_id), whose)
    if stored is None:
        raise not_found("request of that id among yours")
    return stored


def _whose(session: Session, everyone: bool) -> str | None:
    if not everyone:
        return session.account.id
    if not session.account.administrator:
        raise Problem(403, "only the administrator sees everyone's requests",
                      "not_administrator", "permission_error")  # fmt: skip
    return None


async def _search(
    request: Request, whose: str | None, text: str, status: str, before: str | None, limit: int
) -> list[StoredRequest]:
    words = plain_words(text)
    if status and status not in STATUSES:
        raise Problem(400, f"status: is not one of {', '.join(STATUSES)}", "invalid_value",
                      param="status")  # fmt: skip
    chosen = next((known for known in STATUSES if known == status), None)
    search = parts_of(request).store.requests.search
    return await run_in_threadpool(
        lambda: search(account_id=whose, text=words, status=chosen, before=before, limit=limit)
    )


async def _people(request: Request) -> dict[str, str]:
    accounts = await run_in_threadpool(parts_of(request).store.accounts.list)
    return {account.id: account.email for account in accounts}


def _row(stored: StoredRequest, people: dict[str, str]) -> dict[str, Any]:
    asked = stored.parameters
    fields = (
        "width", "height", "upscale", "steps", "guidance", "true_cfg", "seed", "num_images",
        "solver",
    )  # fmt: skip
    return {
        "id": stored.id,
        "created": stored.created.isoformat(),
        "account": people[stored.account_id],
        "key": stored.key_id or "",
        "api": stored.api,
        "status": stored.status,
        "model": stored.model,
        "model_hash": stored.model_hash,
        "prompt": stored.prompt,
        "negative_prompt": asked.get("negative_prompt", ""),
        **{field: asked.get(field, "") for field in fields},
        "pictures": len(stored.pictures),
        "error": stored.error_code or "",
        "total_s": stored.timings.get("total_s", ""),
        "request_id": stored.request_id,
    }
