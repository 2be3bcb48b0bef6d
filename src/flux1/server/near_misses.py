"""Addresses that clients call when a base address is a little wrong, and what they meant."""

import re

from fastapi import Request
from starlette.routing import Match

from flux1.errors import nearest

_OFTEN_CALLED = (
    "/v1/images/generations", "/v1/images/edits", "/v1/models", "/v1/get_result", "/v1/requests",
    "/v1/usage", "/v1/verify",
)  # fmt: skip
_NO_CHAT = "this server draws pictures: POST /v1/images/generations"
_ELSEWHERE = {
    r"(/v1)*/(chat/completions|completions|responses|embeddings|audio/.*|messages)": _NO_CHAT,
    r"/sdapi/.*": f"Automatic1111's API is not spoken here; {_NO_CHAT}",
    r"/(prompt|queue|history|ws)": f"ComfyUI's API is not spoken here; {_NO_CHAT}",
}


def hint(request: Request) -> str:
    """Return a line that says what is not here, and what may have been meant."""
    path = request.scope["path"]
    return f"there is no {path[:100]} here{_meant(request, path)}"


def _meant(request: Request, path: str) -> str:
    for pattern, words in _ELSEWHERE.items():
        if re.fullmatch(pattern, path):
            return f"; {words}"
    once = "/v1" + re.sub(r"^(/v1)+(?=/)", "", path)
    if once != path and _is_here(request, once):
        why = "the base address has /v1 twice" if path.startswith("/v1") else "/v1 is missing"
        return f": {why}; call {once}"
    return nearest(path, _OFTEN_CALLED)


def _is_here(request: Request, path: str) -> bool:
    scope = {**request.scope, "path": path}
    routes = request.app.router.routes
    return any(route.matches(scope)[0] is not Match.NONE for route in routes)
