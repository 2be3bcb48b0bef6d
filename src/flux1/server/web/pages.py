"""The dashboard, joined: its pages, and errors as a browser shows them."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from flux1.errors import Flux1Error
from flux1.server.problems import Problem
from flux1.server.web import (
    admin,
    assets,
    gallery,
    keys,
    login,
    playground,
    requests,
    usage,
    verify,
)
from flux1.server.web.render import page
from flux1.server.web.sessions import SignInFirst
from flux1.server.web.throttle import Throttle

_KEPT = ("allow", "retry-after")
_FOR_PROGRAMS = ("v1", "health", "metrics", "openapi.json")  # first parts of paths
Handler = Callable[[Request, Any], Awaitable[Response]]

router = APIRouter(include_in_schema=False)
for _pages in (login, playground, gallery, requests, keys, usage, admin, verify, assets):
    router.include_router(_pages.router)


def install(app: FastAPI) -> None:
    """Add the dashboard to an application whose own routes and error answers are in place."""
    app.state.throttle = Throttle()
    app.include_router(router)
    for kind in (Problem, Flux1Error, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _for_people(app.exception_handlers[kind]))


def _for_people(answer: Any) -> Handler:
    """The same failure: as a page where a browser asked for one, as the API says it elsewhere."""

    async def handle(request: Request, failure: Any) -> Response:
        if not _wants_page(request):
            return await answer(request, failure)
        if isinstance(failure, SignInFirst):
            return login.to_log_in(request)
        told = await answer(request, failure)
        title = HTTPStatus(told.status_code).phrase
        message = json.loads(told.body)["error"]["message"]
        # a script that asked for part of a page gets this one whole
        headers = {"hx-retarget": "#main", "hx-reselect": "#main", "hx-reswap": "outerHTML"}
        headers |= {name: told.headers[name] for name in _KEPT if name in told.headers}
        return page(request, "error.html", told.status_code, headers, title=title, message=message)

    return handle


def _wants_page(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    place = request.scope["path"].lstrip("/").partition("/")[0]
    return "text/html" in accepted and place not in _FOR_PROGRAMS
