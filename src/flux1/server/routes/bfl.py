"""BFL's routes: a request is accepted at once and asked for later."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from flux1.errors import BlockedError
from flux1.server import bfl
from flux1.server.arrival import PROBLEMS, IdempotencyKey, arrival_of
from flux1.server.ask import Ask
from flux1.server.auth import Writer
from flux1.server.bfl import Accepted, FluxBody, Result
from flux1.server.generation import Generation
from flux1.server.ids import is_plain_id
from flux1.server.links import address, signed_link
from flux1.server.parts import Parts, parts_of
from flux1.server.problems import ErrorEnvelope
from flux1.server.targets import check_target
from flux1.store.requests import StoredRequest

_PATH_NAME = re.compile(r"[A-Za-z0-9._-]+")


def path_names(parts: Parts) -> tuple[str, ...]:
    """The names of models that can be a path's last part: each has a route of its own."""
    names = [name for model in parts.engine.models.values() for name in model.names]
    return tuple(name for name in names if _PATH_NAME.fullmatch(name))


def router_for(names: tuple[str, ...]) -> APIRouter:
    """BFL's routes for these names of models."""
    router = APIRouter(tags=["bfl"])
    for name in names:
        router.post(
            f"/v1/{name}",
            responses=PROBLEMS,
            operation_id=f"bfl_{name}",
            summary=f"Draw with {name}",
        )(_submit(name))
    router.get(
        "/v1/get_result",
        responses={
            401: {"model": ErrorEnvelope, "description": "No key, or one that opens nothing."},
            403: {"model": ErrorEnvelope, "description": "The key lacks the scope."},
            404: {"model": Result, "description": "No task of that id is yours."},
        },
        operation_id="bfl_get_result",
    )(get_result)
    return router


def _submit(name: str) -> Any:
    async def submit(
        request: Request, body: FluxBody, caller: Writer, idempotency_key: IdempotencyKey = None
    ) -> Accepted:
        """Accept a picture to draw. `polling_url` says when it is ready."""
        parts = parts_of(request)
        generation: Generation = request.app.state.generation
        request.state.rate_headers = generation.hit(caller)
        ask = bfl.to_ask(body, name, parts.model(name), caller.limits.tolerance)
        if ask.webhook_url is not None:
            await check_target(ask.webhook_url, parts.settings.private_webhooks)
        came = arrival_of(
            request, "bfl", body=await request.body(), idempotency_key=idempotency_key,
            asynchronous=True,
        )  # fmt: skip
        try:
            work = await generation.accept(ask, caller, came)
        except BlockedError as blocked:
            if blocked.job_id is None:
                raise
            return _accepted(request, blocked.job_id, ask)
        stored = work if isinstance(work, StoredRequest) else work.stored
        return _accepted(request, stored.id, ask, stored.notes)

    return submit


def _accepted(request: Request, job_id: str, ask: Ask, notes: list[str] | None = None) -> Accepted:
    return Accepted(
        id=job_id,
        cost=0,
        polling_url=address(request, f"/v1/get_result?id={job_id}"),
        output_mp=round(ask.megapixels, 4),
        notes=notes or [],
    )


async def get_result(
    request: Request, caller: Writer, id: Annotated[str, Query(max_length=64)]
) -> Any:
    """Return where a request stands, and its picture once it is there."""
    requests = parts_of(request).store.requests
    generation: Generation = request.app.state.generation
    progress = generation.progress(id)
    stored = None
    if is_plain_id(id):
        stored = await run_in_threadpool(requests.get, id, caller.account.id)
    if stored is None:
        missing = Result(id=id, status="Task not found")
        return JSONResponse(missing.model_dump(), 404)
    kept = [p for p in stored.pictures if p.erased is None]
    sample = signed_link(request, kept[0])[0] if kept else None
    return bfl.result_of(stored, sample, progress)
