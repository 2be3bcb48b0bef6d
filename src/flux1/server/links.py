"""Addresses that answers hold: pictures by signed links that expire."""

from datetime import UTC, datetime, timedelta

from fastapi import Request

from flux1.server.parts import Parts, parts_of
from flux1.store.images import SUFFIXES, LinkSigner
from flux1.store.jobs import NewPicture


def address(request: Request, path: str) -> str:
    """An absolute address of this server, as its operator or this caller knows it."""
    public = parts_of(request).settings.public_url
    return (public or str(request.base_url)).rstrip("/") + path


def picture_path(picture: NewPicture) -> str:
    return f"/v1/pictures/{picture.id}.{SUFFIXES[picture.media_type]}"


def signed_path(parts: Parts, picture: NewPicture) -> tuple[str, int]:
    """A path that shows a picture, and the Unix time at which it stops doing so."""
    expires = datetime.now(UTC) + timedelta(seconds=parts.settings.url_seconds)
    if picture.expires is not None:
        expires = min(expires, picture.expires)
    query = LinkSigner(parts.store.secret).sign(picture.id, expires)
    return f"{picture_path(picture)}?{query}", int(expires.timestamp())


def signed_link(request: Request, picture: NewPicture) -> tuple[str, int]:
    """The same with this server's address before it."""
    path, expires = signed_path(parts_of(request), picture)
    return address(request, path), expires
