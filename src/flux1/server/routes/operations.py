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
    """New work would be done in time, and kept: engine, queue, database, pictures, disk."""
    reasons = await request.app.state.health.reasons()
    status = parts_of(request).engine.status()
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
