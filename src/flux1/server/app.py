"""The server: routes, middleware and the tasks that run beside them, joined in `create_app`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import structlog
from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from flux1 import __version__
from flux1.server import bfl, openapi, problems
from flux1.server.bodies import declared_limits
from flux1.server.envelope import Envelope
from flux1.server.generation import Generation
from flux1.server.health import Health
from flux1.server.links import signed_path
from flux1.server.metrics import Metrics
from flux1.server.parts import Parts
from flux1.server.routes import bfl as bfl_routes
from flux1.server.routes import images, models, operations, pictures, requests
from flux1.server.upkeep import keep_lease, sweep
from flux1.server.web import pages
from flux1.server.webhooks import Courier, payload_of
from flux1.store.requests import StoredRequest

log = structlog.get_logger("flux1.server")
STOP_PATIENCE_S = 20.0
VERIFIED_AT_ONCE = 2  # in threads of their own: strangers' pictures may be slow to read
_DESCRIPTION = """Pictures from words. Speaks OpenAI's Images API and BFL's own wire format.

Send a key of the dashboard as `Authorization: Bearer <key>` (or `x-key: <key>`). Every answer that
is not a success is an `error` object; `x-should-retry` says whether asking again can help."""


def create_app(parts: Parts) -> FastAPI:
    """The application over its parts. It starts working when it is served, and stops cleanly."""
    app = FastAPI(
        title="flux1",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_working,
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
    app.include_router(bfl_routes.router_for(bfl_routes.path_names(parts)))
    pages.install(app)
    app.add_middleware(Envelope, parts=parts, limits=declared_limits(app))
    if origins := [one.strip() for one in parts.settings.cors_origins.split(",") if one.strip()]:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"],
            expose_headers=["*"],
        )  # fmt: skip
    app.get("/openapi.json", include_in_schema=False)(openapi.document)
    return app


@contextlib.asynccontextmanager
async def _working(app: FastAPI) -> AsyncIterator[None]:
    """Hold what is there while the application is served: the desk, and the tasks beside it."""
    parts: Parts = app.state.parts
    metrics = Metrics(parts.engine)
    private = parts.settings.private_webhooks
    courier = Courier(parts.store, private, lambda stored: _message(parts, stored))
    generation = Generation(parts, metrics, courier.wake)
    app.state.generation, app.state.metrics = generation, metrics
    app.state.end_work = lambda: generation.close(STOP_PATIENCE_S)
    app.state.health = Health(parts)
    app.state.telling = CapacityLimiter(1)
    app.state.verifying = CapacityLimiter(VERIFIED_AT_ONCE)
    openapi.document_of(app)
    resumed = await generation.resume()
    if resumed:
        log.info("took up requests of the last run", requests=resumed)
    work = (courier.run(), metrics.pulse.run(), sweep(parts), keep_lease(parts))
    beside = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        await generation.close(STOP_PATIENCE_S)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await run_in_threadpool(parts.tracing.close)


def _message(parts: Parts, stored: StoredRequest) -> str:
    """Return what a webhook is told of a request, with a link that works from now."""
    link = None
    if stored.pictures and stored.pictures[0].erased is None:
        link = stored.output["address"] + signed_path(parts, stored.pictures[0])[0]
    return json.dumps(payload_of(bfl.result_of(stored, link), datetime.now(UTC)))
