"""flux1: an independent implementation of FLUX.1. Names load on first use: importing is instant."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flux1.errors import Flux1Error as Flux1Error
    from flux1.events import Finished as Finished
    from flux1.events import Step as Step
    from flux1.pipeline.pipeline import FluxPipeline as FluxPipeline
    from flux1.pipeline.pipeline import Pictures as Pictures
    from flux1.request import ImageRequest as ImageRequest
    from flux1.request import make_request as make_request
    from flux1.variants import VARIANTS as VARIANTS
    from flux1.variants import Variant as Variant

__version__ = "0.1.0"

_HOMES = {
    "FluxPipeline": "flux1.pipeline.pipeline",
    "Pictures": "flux1.pipeline.pipeline",
    "ImageRequest": "flux1.request",
    "make_request": "flux1.request",
    "Step": "flux1.events",
    "Finished": "flux1.events",
    "Flux1Error": "flux1.errors",
    "Variant": "flux1.variants",
    "VARIANTS": "flux1.variants",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'flux1' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
