"""Sign up, in and out."""

import secrets
from typing import Any
from urllib.parse import quote

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from flux1.errors import AccountError
from flux1.server.connections import place_of
from flux1.server.parts import parts_of
from flux1.server.problems import Problem
from flux1.server.web import sessions
from flux1.server.web.forms import Fields, read_fields
from flux1.server.web.render import page
from flux1.server.web.sessions import Posted
from flux1.server.web.throttle import Throttle
from flux1.store.accounts import LONGEST_EMAIL, SHORTEST_PASSWORD

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home(request: Request) -> Response:
    """Show the landing page, or go straight to work."""
    if await sessions.session_of(request) is not None:
        return RedirectResponse("/playground", 303)
    models = parts_of(request).engine.models.values()
    return page(
        request, "home.html", models=[model.variant for model in models], **await _signup(request)
    )


@router.get("/login")
async def log_in_page(request: Request, next: str = "") -> Response:
    if await sessions.session_of(request) is not None:
        return RedirectResponse(sessions.inside(next), 303)
    return await _show(request, "login.html", next=next)


@router.get("/signup")
async def sign_up_page(request: Request, next: str = "") -> Response:
    if await sessions.session_of(request) is not None:
        return RedirectResponse(sessions.inside(next), 303)
    return await _show(request, "signup.html", next=next)


@router.post("/login")
async def log_in(request: Request) -> Response:
    form = await read_fields(request)
    email, next = form.text("email"), form.text("next")
    typed = {"next": next, "email": email}
    if not _own_form(request, form):
        return await _show(request, "login.html", 403, {"form": _STALE}, **typed)
    throttle: Throttle = request.app.state.throttle
    known_as = email.strip().lower()[:LONGEST_EMAIL]
    wait = throttle.log_in(_address(request), known_as)
    if wait:
        return await _show(request, "login.html", 429, {"form": _wait(wait)}, **typed)
    accounts = parts_of(request).store.accounts
    try:
        account = await to_thread.run_sync(
            accounts.authenticate, email, form.text("password"), limiter=throttle.hashing
        )
    except AccountError as wrong:
        return await _show(request, "login.html", 422, _beside(wrong), **typed)
    throttle.forget(_address(request), known_as)
    answer = RedirectResponse(sessions.inside(next), 303)
    await sessions.begin(request, answer, account)
    return answer


@router.post("/signup")
async def sign_up(request: Request) -> Response:
    form = await read_fields(request)
    email, next = form.text("email"), form.text("next")
    typed = {"next": next, "email": email}
    if not _own_form(request, form):
        return await _show(request, "signup.html", 403, {"form": _STALE}, **typed)
    throttle: Throttle = request.app.state.throttle
    if not (await _signup(request))["open"]:
        raise Problem(403, "this server takes no new accounts; ask its administrator for one",
                      "signup_closed", "permission_error")  # fmt: skip
    wait = throttle.sign_up(_address(request))
    if wait:
        return await _show(request, "signup.html", 429, {"form": _wait(wait)}, **typed)
    accounts = parts_of(request).store.accounts
    try:
        account = await to_thread.run_sync(
            accounts.register, email, form.text("password"), limiter=throttle.hashing
        )
    except AccountError as wrong:
        return await _show(request, "signup.html", 422, _beside(wrong), **typed)
    answer = RedirectResponse(sessions.inside(next), 303)
    await sessions.begin(request, answer, account)
    return answer


@router.post("/logout")
async def log_out(request: Request, _: Posted) -> Response:
    answer = RedirectResponse("/", 303)
    await sessions.end(request, answer)
    return answer


def to_log_in(request: Request) -> Response:
    """Sign in first, then come back."""
    back = request.url.path
    if request.method != "GET":
        back = "/playground"
    elif request.url.query:
        back += f"?{request.url.query}"
    address = f"/login?next={quote(back)}"
    if "hx-request" in request.headers:  # part of a page was asked for: lead the whole of it away
        return Response(status_code=401, headers={"hx-redirect": address})
    return RedirectResponse(address, 303)


async def _signup(request: Request) -> dict[str, Any]:
    """Return whether strangers may register, and whether the next one is the first."""
    parts = parts_of(request)
    first = await run_in_threadpool(parts.store.accounts.count) == 0
    return {"first": first, "open": first or parts.settings.open_signup}


_STALE = "This form was too old, or came from elsewhere. Send it again."


def _wait(minutes: int) -> str:
    return f"Too many attempts. Wait {minutes} minute{'s' if minutes > 1 else ''}, then try again."


def _beside(wrong: AccountError) -> dict[str, str]:
    return {wrong.field: str(wrong).removeprefix(f"{wrong.field}: ")}


def _address(request: Request) -> str:
    return place_of(request.client.host if request.client else "")


async def _show(
    request: Request,
    template: str,
    status: int = 200,
    errors: dict[str, str] | None = None,
    *,
    next: str,
    email: str = "",
) -> Response:
    """A form for somebody without a session: its proof of origin is a cookie that no other site
    can read, repeated inside the form."""
    name = sessions.cookie_name(request, "form")
    token = request.cookies.get(name) or secrets.token_urlsafe(24)
    answer = page(
        request, template, status, errors=errors or {}, csrf=token, next=next, email=email,
        shortest=SHORTEST_PASSWORD, longest=LONGEST_EMAIL, **await _signup(request),
    )  # fmt: skip
    answer.set_cookie(
        name, token, path="/", secure=sessions.secure(request), httponly=True, samesite="strict"
    )
    return answer


def _own_form(request: Request, form: Fields) -> bool:
    cookie = request.cookies.get(sessions.cookie_name(request, "form"), "")
    return bool(cookie) and sessions.same(form.text("csrf"), cookie) and sessions.from_here(request)
