"""The content credentials of a picture that was sent, read for a key or for a log-in."""

from typing import Any

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel

from flux1.server.auth import Caller
from flux1.server.generation import Generation
from flux1.server.parts import parts_of
from flux1.server.problems import Problem

MAX_PICTURE_BYTES = 32 * 2**20  # of a picture that is sent to be looked at


class VerifyData(BaseModel):
    """A picture's statements about itself, and whether they can be believed."""

    found: bool
    valid: bool
    ours: bool
    model: str | None
    model_hash: str | None
    created: str | None
    signer: str | None
    problems: list[str]
    recipe: dict[str, Any] | None


async def verify_data(request: Request, caller: Caller, data: bytes) -> VerifyData:
    """Return what a file says of itself, counted against the caller's rate (Problem 400, 429)."""
    generation: Generation = request.app.state.generation
    request.state.rate_headers = generation.hit(caller)
    if not data:
        raise Problem(400, "the body is empty; send the bytes of a picture", "empty_image_file")
    verify, threads = parts_of(request).credentials.verify, request.app.state.verifying
    report = await to_thread.run_sync(verify, data, limiter=threads)
    recipe = None if report.recipe is None else vars(report.recipe)
    return VerifyData(
        found=report.found, valid=report.valid, ours=report.ours, model=report.model,
        model_hash=report.model_hash,
        created=None if report.created is None else str(report.created),
        signer=report.signer, problems=list(report.problems), recipe=recipe,
    )  # fmt: skip
