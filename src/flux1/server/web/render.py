"""Pages: templates, their headers, and how values are written for people."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flux1 import __version__
from flux1.server.links import picture_path
from flux1.server.web.assets import asset_path
from flux1.store.accounts import Session
from flux1.store.requests import StoredPicture

# Nothing but our own files runs, styles, loads or is sent to; no page of ours fits in a frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    # not `no-referrer`: that would also hide from us where a form was sent from
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


def page(
    request: Request,
    template: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page for whoever is signed in, if anybody is."""
    session: Session | None = getattr(request.state, "session", None)
    text = (
        _environment()
        .get_template(template)
        .render(session=session, path=request.url.path, **values)
    )
    return HTMLResponse(text, status, {**_HEADERS, **(headers or {})})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("flux1.server.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": moment, "size": size, "seconds": seconds}
    environment.globals |= {
        "asset_path": asset_path, "picture_link": picture_link, "version": __version__,
    }  # fmt: skip
    return environment


def moment(time: datetime | None) -> Markup:
    """A time of UTC to the minute."""
    if time is None:
        return Markup("<span class='none'>none</span>")
    exact = time.isoformat(timespec="seconds")
    return Markup("<time datetime='{}'>{}</time>").format(exact, f"{time:%Y-%m-%d %H:%M}")


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 90 else f"{value / 60:.0f} min"


def size(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def picture_link(picture: StoredPicture) -> str:
    """Return where the dashboard shows a picture to its owner."""
    return "/pictures/" + picture_path(picture).rpartition("/")[2]
