"""For those who run the server: is it alive, is it ready, what does it do?"""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from flux1.server.parts import parts_of

router = APIRouter(include_in_schema=False)


@router.get("/health/live")
async def live() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "alive"})


@router.get("/health/ready")
async def ready(request: Request) -> JSONResponse:
    """New work would be done in time: the engine lives and its queue is not full."""
    parts = parts_of(request)
    status = parts.engine.status()
    limit = parts.settings.max_waiting
    reasons = []
    if not status.alive:
        reasons.append("the engine has stopped")
    if status.waiting >= limit:
        reasons.append(f"{status.waiting} pictures wait, {limit} may")
    if status.seconds > parts.settings.max_wait_seconds:
        reasons.append(f"new work would wait {status.seconds:.0f} s")
    body = {
        "status": "not ready" if reasons else "ready",
        "reasons": reasons,
        "waiting": status.waiting,
        "running": status.running,
        "predicted_wait_s": round(status.seconds, 3),
    }
    return JSONResponse(body, 503 if reasons else 200)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    text = request.app.state.metrics.text()
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")
