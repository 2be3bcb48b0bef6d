"""The API in OpenAPI's words."""

import json
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from flux1.server.routes.bfl import path_names


async def document(request: Request) -> Response:
    return Response(document_of(request.app), media_type="application/json")


_DOCUMENTS: dict[tuple[str, ...], bytes] = {}


def document_of(app: FastAPI) -> bytes:
    """The API in OpenAPI's words. It takes most of a second, in which nothing else runs, so it is
    made before the server answers, once for each set of names."""
    names = path_names(app.state.parts)
    if names not in _DOCUMENTS:
        _DOCUMENTS[names] = json.dumps(_openapi(app)).encode()
    return _DOCUMENTS[names]


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, less its own idea of validation errors: ours are 400 in the envelope."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for operations_of_path in document["paths"].values():
            for operation in operations_of_path.values():
                answers = operation["responses"]
                if answers.pop("422", None) is not None and "400" not in answers:
                    schema = {"$ref": "#/components/schemas/ErrorEnvelope"}
                    answers["400"] = {
                        "description": "A parameter cannot be honoured.",
                        "content": {"application/json": {"schema": schema}},
                    }
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
