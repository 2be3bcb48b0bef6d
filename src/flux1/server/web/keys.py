"""API keys: make, see, replace and revoke them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from flux1.errors import RequestError
from flux1.server.ids import plain_id
from flux1.server.links import address
from flux1.server.parts import parts_of
from flux1.server.problems import not_found
from flux1.server.web.render import page
from flux1.server.web.sessions import Form, Posted, SignedIn
from flux1.store.keys import SCOPES, Key, KeyLimits

router = APIRouter(include_in_schema=False)
LIFETIMES = {"": "never", "7": "in a week", "30": "in 30 days", "90": "in 90 days",
             "365": "in a year"}  # fmt: skip
LIMITS = {
    "requests_per_minute": "Requests a minute",
    "concurrency": "Open requests at once",
    "images_per_day": "Pictures a day",
    "megapixels_per_day": "Megapixels a day",
    "tolerance": "Most tolerance, 0 (strict) to 6",
}


@router.get("/keys")
async def keys(request: Request, session: SignedIn) -> Response:
    return await _show(request, session.account.id)


@router.post("/keys")
async def create(request: Request, form: Posted) -> Response:
    """The one page that shows the new key's secret."""
    keys = parts_of(request).store.keys
    account_id = form.session.account.id
    try:
        wanted = _wanted(form)
        made = await run_in_threadpool(lambda: keys.create(account_id, **wanted))
    except RequestError as wrong:
        beside = {wrong.field: str(wrong).removeprefix(f"{wrong.field}: ")}
        typed: dict[str, Any] = {name: form.text(name) for name in ("name", "expires", *LIMITS)}
        typed["scopes"] = form.fields.texts("scopes")
        return await _show(request, account_id, 422, typed=typed, errors=beside)
    return await _show(request, account_id, made=made)


@router.post("/keys/{key_id}/rotate")
async def rotate(request: Request, key_id: str, form: Posted) -> Response:
    """A new secret in place of the old one, shown once as well."""
    keys, account_id = parts_of(request).store.keys, form.session.account.id
    made = await run_in_threadpool(keys.rotate, account_id, plain_id(key_id))
    if made is None:
        raise not_found("working key of that id among yours")
    return await _show(request, account_id, made=made)


@router.post("/keys/{key_id}/revoke")
async def revoke(request: Request, key_id: str, form: Posted) -> Response:
    keys, account_id = parts_of(request).store.keys, form.session.account.id
    if await run_in_threadpool(keys.revoke, account_id, plain_id(key_id)) is None:
        raise not_found("key of that id among yours")
    return RedirectResponse("/keys", 303)


def _wanted(form: Form) -> dict[str, Any]:
    """Return what `Keys.create` is told; RequestError for what is no number or no time."""
    days = form.text("expires")
    if days not in LIFETIMES:
        raise RequestError("expires", f"{days!r} is not one of the times offered")
    expires = datetime.now(UTC) + timedelta(days=int(days)) if days else None
    limits = {
        name: _number(name, form.text(name), float if name == "megapixels_per_day" else int)
        for name in LIMITS
    }
    return {"name": form.text("name"), "scopes": form.fields.texts("scopes"), "expires": expires,
            "limits": KeyLimits(**limits)}  # fmt: skip


def _number(field: str, text: str, kind: type) -> Any:
    if not text.strip():
        return None
    try:
        return kind(text)
    except ValueError:
        whole = "whole " if kind is int else ""
        raise RequestError(field, f"{text[:20]!r} is not a {whole}number") from None


async def _show(
    request: Request,
    account_id: str,
    status: int = 200,
    *,
    made: tuple[Key, str] | None = None,
    typed: Mapping[str, Any] | None = None,
    errors: Mapping[str, str] | None = None,
) -> Response:
    parts = parts_of(request)
    held = await run_in_threadpool(parts.store.keys.list, account_id)
    now = datetime.now(UTC)
    blank = {"name": "", "expires": "", "scopes": list(SCOPES), **dict.fromkeys(LIMITS, "")}
    return page(
        request, "keys.html", status,
        working=[key for key in held if _works(key, now)],
        ended=[key for key in held if not _works(key, now)],
        made=made, typed=typed or blank, errors=errors or {},
        scopes=SCOPES, lifetimes=LIFETIMES, limits=LIMITS, server=parts.settings,
        api=address(request, "/v1"), model=parts.default_model.names[0],
    )  # fmt: skip


def _works(key: Key, now: datetime) -> bool:
    return key.revoked is None and (key.expires is None or key.expires > now)
