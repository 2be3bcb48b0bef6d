"""Addresses that answers hold: pictures by signed links that expire."""

import re
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from fastapi import Request

from flux1.server.parts import Parts, parts_of
from flux1.store.images import SUFFIXES, LinkSigner
from flux1.store.requests import NewPicture

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def address(request: Request, path: str) -> str:
    """An absolute address of this server, as its operator or this caller knows it."""
    public = parts_of(request).settings.public_url
    return (public or _called(request)).rstrip("/") + path


def _called(request: Request) -> str:
    """The address that was called. Anybody can write any name into a Host header, so no name is
    believed but this machine's own; an operator has `FLUX1_PUBLIC_URL` for others."""
    scheme, host = request.scope["scheme"], request.headers.get("host", "")
    if (found := _HOST.fullmatch(host)) and _is_own(found["name"]):
        return f"{scheme}://{host}"
    name, port = request.scope.get("server") or ("localhost", None)
    name = f"[{name}]" if ":" in name else name
    return f"{scheme}://{name}" + ("" if port is None else f":{port}")


def _is_own(name: str) -> bool:
    bare = name.strip("[]").lower()
    try:
        return bool(ip_address(bare))
    except ValueError:
        here = socket.gethostname().lower()
        return bare in ("localhost", here, f"{here.partition('.')[0]}.local")


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
