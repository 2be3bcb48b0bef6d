"""Who is signed in: the session's cookie, and the proof that a form comes from our own pages."""

import hmac
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from flux1.server.parts import parts_of
from flux1.server.problems import Problem
from flux1.server.web.forms import Fields, read_fields
from flux1.store.accounts import Account, Session

_DAY_S = 86_400


class SignInFirst(Problem):
    """The page is for an account. A browser is led to the log-in, and back afterwards."""

    def __init__(self) -> None:
        super().__init__(401, "sign in first", "not_signed_in", "authentication_error")


def secure(request: Request) -> bool:
    """Return whether the browser reaches us by https, itself or through the operator's proxy."""
    public = parts_of(request).settings.public_url or ""
    return request.url.scheme == "https" or public.startswith("https:")


def own_cookies(header: bytes) -> bytes:
    """Those of a Cookie header that are ours. Neighbours' may be long and quoted, and what quotes
    mean is worked out in time that is quadratic in their length: nobody gets to see them."""
    pairs = [pair.strip() for pair in header.split(b";")]
    ours = (pair for pair in pairs if b"flux1_" in pair.partition(b"=")[0] and b"\\" not in pair)
    return b"; ".join(ours)


def cookie_name(request: Request, what: str) -> str:
    """The `__Host-` prefix, where a browser allows it, keeps neighbours' subdomains from
    setting it."""
    return f"{'__Host-' if secure(request) else ''}flux1_{what}"


def token_of(request: Request) -> str | None:
    return request.cookies.get(cookie_name(request, "session"))


async def begin(request: Request, answer: Response, account: Account) -> None:
    """Sign an account in with this answer."""
    parts = parts_of(request)
    days = parts.settings.session_days
    token = await run_in_threadpool(parts.store.accounts.open_session, account.id, days)
    answer.set_cookie(
        cookie_name(request, "session"), token, max_age=days * _DAY_S, path="/",
        secure=secure(request), httponly=True, samesite="lax",
    )  # fmt: skip


async def end(request: Request, answer: Response) -> None:
    """Sign out with this answer."""
    token = token_of(request)
    if token is not None:
        await run_in_threadpool(parts_of(request).store.accounts.close_session, token)
    answer.delete_cookie(
        cookie_name(request, "session"), path="/", secure=secure(request), httponly=True,
        samesite="lax",
    )  # fmt: skip


async def session_of(request: Request) -> Session | None:
    """The session that a request belongs to, if it does; looked up once."""
    session: Session | None = getattr(request.state, "session", None)
    if session is not None:
        return session
    token = token_of(request)
    if token is not None:
        session = await run_in_threadpool(parts_of(request).store.accounts.session, token)
    if session is not None:
        request.state.session, request.state.account = session, session.account.id
    return session


async def signed_in(request: Request) -> Session:
    session = await session_of(request)
    if session is None:
        raise SignInFirst()
    return session


SignedIn = Annotated[Session, Depends(signed_in)]


async def administrator(session: SignedIn) -> Session:
    if not session.account.administrator:
        raise Problem(
            403, "this page is for the administrator", "not_administrator", "permission_error"
        )
    return session


Administrator = Annotated[Session, Depends(administrator)]


@dataclass(frozen=True)
class Form:
    """A form that a page of ours sent, and the session that sent it."""

    session: Session
    fields: Fields

    def text(self, field: str) -> str:
        return self.fields.text(field)


async def posted(request: Request, session: SignedIn) -> Form:
    """A form, or a script's request, that proves to come from this session's own pages."""
    fields = await read_fields(request)
    sent = request.headers.get("x-csrf-token") or fields.text("csrf")
    if not from_here(request) or not same(sent, session.csrf):
        raise Problem(
            403, "this did not come from a page of your session; load the page again",
            "csrf", "permission_error",
        )  # fmt: skip
    return Form(session, fields)


Posted = Annotated[Form, Depends(posted)]


def same(sent: str, token: str) -> bool:
    return hmac.compare_digest(sent.encode(), token.encode())


def from_here(request: Request) -> bool:
    """False if the browser says that another site's page sent this. Old ones do not say."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return True
    public = parts_of(request).settings.public_url
    known = [request.headers.get("host"), urlsplit(public).netloc if public else None]
    return urlsplit(origin).netloc in [host for host in known if host]


def inside(path: str) -> str:
    """Return where to go after the log-in: a path of ours, never another site's address."""
    plain = path.isascii() and path.isprintable() and "\\" not in path and " " not in path
    own = path.startswith("/") and not path.startswith("//")
    return path if plain and own else "/playground"
