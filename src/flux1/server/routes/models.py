"""`/v1/models`: what is served here, under which names and which licence."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, create_model

from flux1.knobs import KNOBS
from flux1.server.auth import Reader
from flux1.server.parts import parts_of
from flux1.server.ports import Model
from flux1.server.problems import ErrorEnvelope

router = APIRouter(tags=["models"])


class LicenceData(BaseModel):
    """The terms of a model's weights."""

    name: str
    url: str
    commercial_use: bool
    duties: str


_TYPES: dict[str, Any] = {"whole": int, "number": float | None, "text": str, "choice": str | int}
_USUAL: dict[str, Any] = {knob.name: (_TYPES[knob.kind], ...) for knob in KNOBS}
DefaultsData: Any = create_model(
    "DefaultsData", __doc__="What a request gets where it does not say.", size=(str, ...), **_USUAL
)


class ModelData(BaseModel):
    """A name that requests may use. `draws_with` is the model behind it."""

    id: str
    object: str = "model"
    created: int
    owned_by: str
    draws_with: str
    title: str
    hash: str
    licence: LicenceData
    size_multiple: int
    max_pixels: int
    trained_sizes: list[str] = Field(description="Empty: the weights do not say.")
    defaults: DefaultsData


class ModelList(BaseModel):
    object: str = "list"
    data: list[ModelData]


def model_data(name: str, model: Model) -> ModelData:
    variant, defaults, licence = model.variant, model.variant.defaults, model.variant.licence
    return ModelData(
        id=name,
        created=model.created,
        owned_by="flux1" if variant.weights != "local" else "black-forest-labs",
        draws_with=variant.id,
        title=variant.title,
        hash=model.origin.model_hash,
        licence=LicenceData(
            name=licence.name,
            url=licence.url,
            commercial_use=licence.commercial_use,
            duties=licence.duties,
        ),
        size_multiple=variant.size_multiple,
        max_pixels=variant.max_pixels,
        trained_sizes=[f"{width}x{height}" for width, height in variant.trained_sizes],
        defaults=DefaultsData(
            size=f"{defaults.width}x{defaults.height}",
            **{knob.name: knob.usual(variant) for knob in KNOBS},
        ),
    )


_PROBLEMS: dict[int | str, dict[str, object]] = {
    401: {"model": ErrorEnvelope, "description": "No key, or one that opens nothing."},
    403: {"model": ErrorEnvelope, "description": "The key lacks the scope."},
}


@router.get("/v1/models", responses=_PROBLEMS, operation_id="list_models")
async def models(request: Request, _: Reader) -> ModelList:
    """Every name that a request may use."""
    loaded = parts_of(request).engine.models.values()
    return ModelList(data=[model_data(name, model) for model in loaded for name in model.names])


@router.get(
    "/v1/models/{name:path}",
    responses={**_PROBLEMS, 404: {"model": ErrorEnvelope, "description": "No such model."}},
    operation_id="get_model",
)
async def model(request: Request, name: str, _: Reader) -> ModelData:
    """One name."""
    return model_data(name, parts_of(request).model(name))
