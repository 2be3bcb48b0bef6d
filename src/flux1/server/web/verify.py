"""The page that answers where a picture comes from."""

from fastapi import APIRouter, Request, Response

from flux1.server.auth import account_caller
from flux1.server.parts import parts_of
from flux1.server.verifying import MAX_PICTURE_BYTES, VerifyData, verify_data
from flux1.server.web.render import page
from flux1.server.web.sessions import Posted, SignedIn

router = APIRouter(include_in_schema=False)


@router.get("/verify")
async def form(request: Request, _: SignedIn) -> Response:
    return _show(request)


@router.post("/verify", max_body_size=MAX_PICTURE_BYTES)
async def verify(request: Request, form: Posted) -> Response:
    """Read a picture's content credentials; the picture is not kept."""
    file = form.fields.file("picture")
    if file is None or not file.data:
        return _show(request, 422, error="is missing: choose a file")
    caller = account_caller(form.session.account, parts_of(request))
    report = await verify_data(request, caller, file.data)
    return _show(request, report=report, name=file.name)


def _show(
    request: Request,
    status: int = 200,
    *,
    report: VerifyData | None = None,
    name: str | None = None,
    error: str | None = None,
) -> Response:
    # a form's other fields and its frame take some of what a body may hold
    most = MAX_PICTURE_BYTES - 2**16
    return page(request, "verify.html", status, report=report, name=name, error=error, most=most)
