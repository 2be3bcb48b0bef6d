"""The server: routes, middleware and the tasks that run beside them, joined in `create_app`."""

import asyncio
import contextlib
import json
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from anyio import CapacityLimiter
from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from flux1 import __version__
from flux1.errors import Flux1Error, StoreError
from flux1.server import bfl, problems
from flux1.server.bodies import Bodies
from flux1.server.generation import Generation
from flux1.server.health import Health
from flux1.server.links import signed_path
from flux1.server.metrics import Metrics
from flux1.server.parts import Parts
from flux1.server.problems import Problem, unexpected
from flux1.server.routes import bfl as bfl_routes
from flux1.server.routes import images, models, operations, pictures, requests
from flux1.server.web import pages
from flux1.server.web.sessions import own_cookies
from flux1.server.webhooks import Courier, payload_of
from flux1.store.requests import StoredRequest

log = structlog.get_logger("flux1.server")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STOP_PATIENCE_S = 20.0
SWEEP_S = 600.0
LEASE_S = 5.0
VERIFIED_AT_ONCE = 2  # in threads of their own: strangers' pictures may be slow to read
_PATH_NAME = re.compile(r"[A-Za-z0-9._-]+")
_DESCRIPTION = """Pictures from words. Speaks OpenAI's Images API and BFL's own wire format.

Send a key of the dashboard as `Authorization: Bearer <key>` (or `x-key: <key>`). Every answer that
is not a success is an `error` object; `x-should-retry` says whether asking again can help."""


def create_app(parts: Parts) -> FastAPI:
    """The application over its parts. It starts working when it is served, and stops cleanly."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        metrics = Metrics(parts.engine)
        private = parts.settings.private_webhooks
        courier = Courier(parts.store, private, lambda stored: _message(parts, stored))
        generation = Generation(parts, metrics, courier.wake)
        app.state.generation, app.state.metrics = generation, metrics
        app.state.end_work = lambda: generation.close(STOP_PATIENCE_S)
        app.state.health = Health(parts)
        app.state.telling = CapacityLimiter(1)
        app.state.verifying = CapacityLimiter(VERIFIED_AT_ONCE)
        _document_of(app)
        resumed = await generation.resume()
        if resumed:
            log.info("took up requests of the last run", requests=resumed)
        work = (courier.run(), metrics.pulse.run(), _sweep(parts), _keep_lease(parts))
        beside = [asyncio.create_task(one) for one in work]
        try:
            yield
        finally:
            await generation.close(STOP_PATIENCE_S)
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await run_in_threadpool(parts.tracing.close)

    app = FastAPI(
        title="flux1",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry=parts.tracing.telemetry(),
    )
    app.state.parts = parts
    problems.install(app)
    for module in (images, models, requests, pictures, operations):
        app.include_router(module.router)
    app.include_router(bfl_routes.router_for(_path_names(parts)))
    pages.install(app)
    app.add_middleware(Envelope, parts=parts)
    if origins := [one.strip() for one in parts.settings.cors_origins.split(",") if one.strip()]:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["*"],
        )  # fmt: skip
    app.get("/openapi.json", include_in_schema=False)(_document)
    return app


def _path_names(parts: Parts) -> tuple[str, ...]:
    names = [name for model in parts.engine.models.values() for name in model.names]
    return tuple(name for name in names if _PATH_NAME.fullmatch(name))


async def _document(request: Request) -> Response:
    return Response(_document_of(request.app), media_type="application/json")


_DOCUMENTS: dict[tuple[str, ...], bytes] = {}


def _document_of(app: FastAPI) -> bytes:
    """The API in OpenAPI's words. It takes most of a second, in which nothing else runs, so it is
    made before the server answers, once for each set of names."""
    names = _path_names(app.state.parts)
    if names not in _DOCUMENTS:
        _DOCUMENTS[names] = json.dumps(_openapi(app)).encode()
    return _DOCUMENTS[names]


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, less its own idea of validation errors: ours are 400 in the envelope."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for operations_of_path in document["paths"].values():
            for operation in operations_of_path.values():
                answers = operation["responses"]
                if answers.pop("422", None) is not None and "400" not in answers:
                    schema = {"$ref": "#/components/schemas/ErrorEnvelope"}
                    answers["400"] = {
                        "description": "A parameter cannot be honoured.",
                        "content": {"application/json": {"schema": schema}},
                    }
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema


def _message(parts: Parts, stored: StoredRequest) -> str:
    """What a webhook is told of a request, with a link that works from now."""
    link = None
    if stored.pictures and stored.pictures[0].erased is None:
        link = stored.output["address"] + signed_path(parts, stored.pictures[0])[0]
    return json.dumps(payload_of(bfl.result_of(stored, link), datetime.now(UTC)))


async def _keep_lease(parts: Parts) -> None:
    """Stop if another server has taken this one's place while the database was away."""
    while parts.lease is not None:
        await asyncio.sleep(LEASE_S)
        with contextlib.suppress(StoreError):  # away: nobody knows, and nobody can take it
            if not await run_in_threadpool(parts.lease.held):
                log.error("another server works on this database; stopping")
                signal.raise_signal(signal.SIGTERM)
                return


async def _sweep(parts: Parts) -> None:
    """Erase pictures whose time is over."""
    store = parts.store
    while True:
        try:
            old = await run_in_threadpool(store.requests.expired_pictures, datetime.now(UTC), 1000)
            for picture in old:
                await run_in_threadpool(store.pictures.delete, picture.id, picture.media_type)
                await run_in_threadpool(store.requests.mark_erased, [picture.id])
            if old:
                log.info("erased expired pictures", pictures=len(old))
        except Exception:
            log.exception("expired pictures could not be erased")
        await asyncio.sleep(SWEEP_S)


class Envelope:
    """Around every request: its id, a bound on its body, its headers, its line in the log."""

    def __init__(self, app: Any, parts: Parts) -> None:
        self._app, self._parts, self._bodies = app, parts, Bodies(parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked_method, scope = scope["method"], _plain(scope)
        began = time.perf_counter()
        request_id = f"http_{secrets.token_hex(12)}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        self._parts.tracing.received(scope, request_id)
        status, begun = 500, False

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                spent = round((time.perf_counter() - began) * 1000)
                extra = {
                    "x-request-id": request_id,
                    "openai-processing-ms": str(spent),
                    **state.get("rate_headers", {}),
                }
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in extra.items()),
                ]
            await send(message)

        try:
            async with self._bodies.whole(scope, receive) as bounded:
                await self._app(scope, bounded, answer)
        except (Problem, Flux1Error) as refused:
            await _tell(refused, scope, receive, answer)
        except Exception:
            log.exception("unexpected failure", path=scope["path"])
            if begun:
                raise
            await _tell(unexpected(), scope, receive, answer)
        finally:
            metrics = getattr(scope["app"].state, "metrics", None) if "app" in scope else None
            if metrics is not None:
                metrics.answered(asked_method, status)
            log.info(
                "http", method=asked_method, path=scope["path"], status=status,
                ms=round((time.perf_counter() - began) * 1000),
                account=state.get("account"),
            )  # fmt: skip
            structlog.contextvars.clear_contextvars()


def _plain(scope: Scope) -> Scope:
    """The same request as routes know it: HEAD is a GET whose body the connection leaves out, and
    a slash at the end means nothing. Cookies are ours alone."""
    headers = [
        (name, own_cookies(value) if name == b"cookie" else value)
        for name, value in scope["headers"]
    ]
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    path = scope["path"].rstrip("/") or "/"
    return {**scope, "method": method, "path": path, "headers": headers}


async def _tell(problem: Problem | Flux1Error, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as the application itself does: with a page for people, else with the envelope."""
    kind = Problem if isinstance(problem, Problem) else Flux1Error
    answer = await scope["app"].exception_handlers[kind](Request(scope), problem)
    await answer(scope, receive, send)
