"""Who is calling: an account, by an API key or by the dashboard's session."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool

from flux1.server.limits import Limits
from flux1.server.parts import Parts, parts_of
from flux1.server.problems import Problem, unauthorised
from flux1.settings import ServerSettings
from flux1.store.accounts import Account
from flux1.store.keys import SCOPES, Key
from flux1.store.quotas import Quota

_bearer = HTTPBearer(auto_error=False, description="An API key of the dashboard.")
_x_key = APIKeyHeader(name="x-key", auto_error=False, description="The same key, as BFL sends it.")


@dataclass(frozen=True)
class Caller:
    """An account, the key it came with (None: its own log-in), and what it may do."""

    account: Account
    key: Key | None
    limits: Limits

    def quotas(self, settings: ServerSettings) -> list[Quota]:
        """Return the quotas: the account's, since keys can be made at will, and the key's."""
        account = Limits.of(settings, None).quota()
        return [account] if self.key is None else [account, self.limits.quota(self.key)]

    def may(self, scope: str) -> bool:
        return self.key is None or scope in self.key.scopes


async def identified(request: Request) -> Caller:
    """The caller of a request, looked up once (KeyRefusedError, Problem 401)."""
    known: Caller | None = getattr(request.state, "caller", None)
    if known is not None:
        return known
    secret, parts = _secret_of(request), parts_of(request)
    if not secret:
        raise unauthorised("no API key: send it as 'Authorization: Bearer <key>' or 'x-key: <key>'")
    key, account = await run_in_threadpool(parts.store.keys.check, secret)
    caller = Caller(account, key, Limits.of(parts.settings, key))
    request.state.caller, request.state.account = caller, account.id
    return caller


def account_caller(account: Account, parts: Parts) -> Caller:
    """Somebody who is signed in in the dashboard: without a key."""
    return Caller(account, None, Limits.of(parts.settings, None))


def _secret_of(request: Request) -> str | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else request.headers.get("x-key")


def caller(scope: str) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency: the caller of this request, whose key must hold `scope`."""
    if scope not in SCOPES:
        raise ValueError(f"{scope} is not a scope")

    async def found(
        request: Request,
        _one: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        _other: Annotated[str | None, Security(_x_key)],
    ) -> Caller:
        found = await identified(request)
        if not found.may(scope):
            raise Problem(
                403,
                f"this key may not do that: it lacks the scope {scope!r}",
                "insufficient_scope",
                "permission_error",
            )
        return found

    return found


Writer = Annotated[Caller, Depends(caller("images:write"))]
Reader = Annotated[Caller, Depends(caller("images:read"))]
UsageReader = Annotated[Caller, Depends(caller("usage:read"))]
