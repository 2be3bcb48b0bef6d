"""Where does this picture come from?"""

from fastapi import APIRouter, Request, Response

from flux1.server.routes.pictures import MAX_VERIFY_BYTES, VerifyData, verify_data
from flux1.server.web.render import page
from flux1.server.web.sessions import Posted, SignedIn

router = APIRouter(include_in_schema=False)


@router.get("/verify")
async def form(request: Request, _: SignedIn) -> Response:
    return _show(request)


@router.post("/verify")
async def verify(request: Request, form: Posted) -> Response:
    """Read a picture's content credentials; the picture is not kept."""
    file = form.fields.file("picture")
    if file is None or not file.data:
        return _show(request, 422, error="is missing: choose a file")
    report = await verify_data(request, file.data)
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
    most = MAX_VERIFY_BYTES - 2**16
    return page(request, "verify.html", status, report=report, name=name, error=error, most=most)
