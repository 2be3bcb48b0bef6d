"""An account's pictures."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from flux1.server.ids import plain_id
from flux1.server.parts import parts_of
from flux1.server.picture_answer import picture_answer
from flux1.server.problems import not_found
from flux1.server.web.render import page
from flux1.server.web.sessions import SignedIn

router = APIRouter(include_in_schema=False)
PAGE = 48


@router.get("/gallery")
async def gallery(request: Request, session: SignedIn, before: str = "") -> Response:
    """Newest first."""
    parts = parts_of(request)
    cursor = plain_id(before) if before else None
    find, account_id = parts.store.requests.gallery, session.account.id
    pictures = await run_in_threadpool(find, account_id, cursor, PAGE)
    following = pictures[-1].cursor if len(pictures) == PAGE else None
    return page(
        request, "gallery.html", pictures=pictures, following=following, before=before,
        retention_days=parts.settings.retention_days,
    )  # fmt: skip


@router.get("/pictures/{name}")
async def picture(request: Request, name: str, session: SignedIn) -> Response:
    """A picture's file, for its owner and the administrator."""
    picture_id = plain_id(name.partition(".")[0])
    stored = await run_in_threadpool(parts_of(request).store.requests.picture, picture_id)
    account = session.account
    if stored is None or not (stored.account_id == account.id or account.administrator):
        raise not_found("such picture among yours")
    return await picture_answer(request, picture_id, name)
