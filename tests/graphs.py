"""Models as folders of ONNX graphs, each written once in a process; and their torch twins."""

import tempfile
from functools import cache
from pathlib import Path

from flux1 import FluxPipeline
from flux1.export.onnx import plan_export
from flux1.runtime.pipeline import OnnxPipeline
from flux1.weights.load import Model, load_model
from flux1.weights.model_files import Source
from flux1.weights.sources import locate
from synthetic import make_diffusers_folder

MODELS = ("tiny", "flux-mini", "dev", "schnell")  # the last two: FLUX.1's layout in miniature


@cache
def weights(model: str) -> str:
    """What a model is loaded from."""
    if model not in ("dev", "schnell"):
        return model
    place = _place(model)
    return str(make_diffusers_folder(place / f"FLUX.1-{model}", guidance=model == "dev"))


@cache
def source(model: str) -> Source:
    return locate(weights(model))


def exported(model: str, dtype: str = "fp32") -> Path:
    """Its folder of graphs. Not to be changed."""
    return _exported(model, dtype)


@cache
def _exported(model: str, dtype: str) -> Path:
    place = _place(model) / dtype
    plan_export(source(model), place, dtype).write()
    return place


@cache
def networks(model: str) -> Model:
    return load_model(source(model))


@cache
def by_torch(model: str) -> FluxPipeline:
    return FluxPipeline.from_pretrained(weights(model))


@cache
def by_onnx(model: str, dtype: str = "fp32") -> OnnxPipeline:
    return OnnxPipeline.from_folder(exported(model, dtype))


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="graphs-")  # gone with the process


def _place(model: str) -> Path:
    return Path(_folder().name) / model
