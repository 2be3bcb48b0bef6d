"""A picture's file as an answer."""

from fastapi import Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from flux1.server.links import picture_path
from flux1.server.parts import parts_of
from flux1.server.problems import not_found


async def picture_answer(request: Request, picture_id: str, name: str) -> Response:
    """The bytes of a picture that the caller may see."""
    store = parts_of(request).store
    stored = await run_in_threadpool(store.requests.picture, picture_id)
    if stored is None or stored.erased is not None or not picture_path(stored).endswith(name):
        raise not_found("such picture; it may have been erased")
    data = await run_in_threadpool(store.pictures.get, picture_id, stored.media_type)
    if data is None:
        raise not_found("such picture; it may have been erased")
    headers = {
        "cache-control": "private, max-age=3600, immutable",
        "content-disposition": f'inline; filename="{name}"',
        "x-content-type-options": "nosniff",
    }
    return Response(data, media_type=stored.media_type, headers=headers)
