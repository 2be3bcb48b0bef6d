"""Style sheets, scripts and icons: files of this package under addresses that name their bytes.

`htmx.min.js` is htmx 4.0.1 as its authors publish it on npm; its licence lies beside it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response

from flux1.server.problems import not_found

router = APIRouter(include_in_schema=False)
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """`version` is a hash of `data`: another file is another address, so it may be kept long."""

    data: bytes
    media_type: str
    version: str


@cache
def assets() -> Mapping[str, Asset]:
    """All of them, by name."""
    folder = Path(__file__).parent / "static"
    found = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        version = hashlib.sha256(data).hexdigest()[:16]
        found[path.name] = Asset(data, _MEDIA_TYPES[path.suffix], version)
    return found


def asset_path(name: str) -> str:
    """Return the address at which a page finds the file."""
    return f"/static/{name}?v={assets()[name].version}"


@router.get("/static/{name}")
async def static(name: str, v: str = "") -> Response:
    """One file; for ever at its own version, fresh at any other."""
    asset = assets().get(name)
    if asset is None:
        raise not_found("such file")
    lasting = "public, max-age=31536000, immutable" if v == asset.version else "no-cache"
    headers = {"cache-control": lasting, "x-content-type-options": "nosniff"}
    return Response(asset.data, media_type=asset.media_type, headers=headers)
