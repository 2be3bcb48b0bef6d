"""Everything that goes wrong, as OpenAI says it: `{"error": {message, type, param, code}}`.

Whoever reads it is a program that must decide whether to ask again, so each answer says so
(`x-should-retry`, `Retry-After`), and names the field and the nearest good value.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from flux1.errors import (
    BlockedError,
    CancelledError,
    DeadlineError,
    Flux1Error,
    KeyRefusedError,
    OutputError,
    OverloadedError,
    QuotaError,
    RequestError,
    StoreError,
    UnknownModelError,
)
from flux1.server.failures import message_of
from flux1.server.near_misses import hint

log = structlog.get_logger("flux1.server")
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
LONGEST_RETRY_S = 120  # OpenAI's client does not ask again at all when told to wait longer


class ErrorBody(BaseModel):
    """The error's type, code and message."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818
    """An answer that is not a success. `retry_after` is in seconds; None: asking again the same
    way would fail the same way."""

    status: int
    message: str
    code: str
    type: str = "invalid_request_error"
    param: str | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        fields = {"message": _sayable(self.message), "type": self.type}
        param = None if self.param is None else _sayable(self.param)
        return {"error": {**fields, "param": param, "code": self.code}}

    def answer(self) -> JSONResponse:
        headers = {"x-should-retry": "false" if self.retry_after is None else "true"}
        if self.retry_after is not None:
            wait = min(LONGEST_RETRY_S, max(1, math.ceil(self.retry_after)))
            headers["retry-after"] = str(wait)
        return JSONResponse(self.body(), self.status, {**headers, **self.headers})


def _sayable(text: str) -> str:
    """Return what a client sent, as text that UTF-8 can hold."""
    return text.encode(errors="replace").decode()


def problem_of(error: Flux1Error) -> Problem:
    """The answer to a failure that flux1 itself names."""
    message = message_of(error)
    match error:
        case RequestError():
            return Problem(400, message, "invalid_value", param=error.field)
        case UnknownModelError():
            return Problem(404, message, error.code, param="model")
        case KeyRefusedError():
            headers = {"www-authenticate": "Bearer"}
            return Problem(401, message, error.code, "authentication_error", headers=headers)
        case BlockedError():
            listed = ", ".join(error.categories)
            text = f"{message} safety_violations=[{listed}]"
            return Problem(400, text, error.code, "image_generation_user_error", param=error.stage)
        case OutputError():
            return Problem(400, message, "invalid_value", param="output_format")
        case QuotaError():
            kind = "insufficient_quota" if error.retry_after is None else "rate_limit_error"
            return Problem(429, message, error.code, kind, retry_after=error.retry_after)
        case StoreError():
            kind = "service_unavailable_error"
            return Problem(503, message, error.code, kind, retry_after=5)
        case OverloadedError():
            kind = "service_unavailable_error"
            return Problem(503, message, error.code, kind, retry_after=error.retry_after)
        case DeadlineError():
            return Problem(504, message, error.code, "timeout_error")
        case CancelledError():
            return Problem(409, message, error.code, "cancelled_error")
        case _:
            return Problem(500, message, error.code, "server_error", retry_after=1)


def unauthorised(message: str) -> Problem:
    headers = {"www-authenticate": "Bearer"}
    return Problem(401, message, "invalid_api_key", "authentication_error", headers=headers)


def not_found(what: str, param: str | None = None) -> Problem:
    return Problem(404, f"there is no {what}", "not_found", param=param)


def install(app: FastAPI) -> None:
    """Let every failure of the application end in the envelope."""

    @app.exception_handler(Problem)
    async def problem(_: Request, failure: Problem) -> JSONResponse:
        return failure.answer()

    @app.exception_handler(Flux1Error)
    async def named(_: Request, failure: Flux1Error) -> JSONResponse:
        found = problem_of(failure)
        if found.status == 500 or isinstance(failure, StoreError):
            log.error("request failed", error=str(failure), code=failure.code)
        return found.answer()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, failure: RequestValidationError) -> JSONResponse:
        return validation_problem(failure.errors()).answer()

    @app.exception_handler(HTTPException)
    async def http(request: Request, failure: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method_not_allowed"}
        code = codes.get(failure.status_code, "invalid_request")
        headers = {name.lower(): value for name, value in (failure.headers or {}).items()}
        if failure.status_code == 405:
            headers["allow"] = ", ".join(_methods(request))
        detail = hint(request) if failure.status_code == 404 else str(failure.detail)
        return Problem(failure.status_code, detail, code, headers=headers).answer()


def unexpected() -> Problem:
    """For what nobody thought of; the log has its story under the request's id."""
    message = "the server failed in a way it did not expect; its log says how"
    return Problem(500, message, "server_error", "server_error", retry_after=1)


def _methods(request: Request) -> list[str]:
    """Return what may be done with a path: by all of its routes, not by the first alone."""

    def allowed(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)

    return [method for method in METHODS if allowed(method)]


def validation_problem(errors: Any) -> Problem:
    """The first thing that is wrong with a body, named by its field."""
    first = errors[0]
    places = [str(place) for place in first["loc"]]
    if places and places[0] in ("body", "query", "path", "header"):
        places = places[1:]
    param = ".".join(places) or None
    if first["type"] == "json_invalid":
        detail = first.get("ctx", {}).get("error", "not readable")
        return Problem(400, f"the body is not JSON: {detail}", "invalid_json")
    if first["type"] in ("model_attributes_type", "dict_type") and not places:
        text = "the body is not a JSON object; send one, with Content-Type: application/json"
        return Problem(400, text, "invalid_json")
    message = str(first["msg"]).removeprefix("Value error, ")
    code = {
        "missing": "missing_required_parameter",
        "extra_forbidden": "unknown_parameter",
    }.get(first["type"], "invalid_value")
    if first["type"] == "extra_forbidden":
        message = "is not a parameter that this server knows; nothing is ignored silently"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(400, f"{param or 'body'}: {message}{more}", code, param=param)
