"""The runtimes that draw: torch from weight files, or ONNX Runtime from graphs, without torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from flux1.errors import DependencyError, RequestError, UnknownModelError, nearest
from flux1.events import Finished, Step
from flux1.request import ImageRequest, Origin
from flux1.variants import Variant, find

Runtime = Literal["torch", "onnx"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)


class Pipeline(Protocol):
    """The part of a pipeline that the torch and the ONNX runtime share."""

    @property
    def variant(self) -> Variant: ...
    @property
    def origin(self) -> Origin: ...
    def stream(self, requests: Sequence[ImageRequest]) -> Iterator[Step | Finished]: ...
    def dropped(self, request: ImageRequest) -> str: ...
    @property
    def notes(self) -> Callable[[ImageRequest], tuple[str, ...]]: ...


@dataclass(frozen=True)
class Found:
    """A model that was found and not read yet: its row; how to load it for requests; and what it
    took at most (bytes by the kind of memory) when it has drawn."""

    variant: Variant
    load: Callable[[Sequence[ImageRequest]], Any]
    peaks: Callable[[Any], Mapping[str, int]]


def named_row(model: str) -> Variant | None:
    """The row of a model that is asked for by name, which is known before any file is opened."""
    try:
        return find(model)
    except UnknownModelError:
        return None


def find_model(
    model: str,
    runtime: str,
    provider: str | None,
    device: str | None,
    dtype: str | None,
    memory: str | None,
) -> Found:
    """RequestError for a runtime that is none, and for options that it does not have; else the
    errors of finding a model."""
    if runtime not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        reason = f"{runtime!r} is none of {known}{nearest(runtime, RUNTIMES)}"
        raise RequestError("runtime", reason)
    if runtime == "torch":
        if provider is not None:
            raise RequestError("provider", f"{provider!r} is ONNX Runtime's; add --runtime onnx")
        return _torch(model, device, dtype, memory)
    for name, value, instead in (
        ("device", device, "take --provider"),
        ("dtype", dtype, "it is chosen when a model is exported"),
        ("memory", memory, "leave it out"),
    ):
        if value is not None:
            raise RequestError(name, f"{value!r} has no effect with --runtime onnx; {instead}")
    return _onnx(model, provider or "cpu")


def _torch(model: str, device: str | None, dtype: str | None, memory: str | None) -> Found:
    from flux1.settings import Settings, read
    from flux1.weights.sources import locate

    source = locate(model, read(Settings).models)

    def load(requests: Sequence[ImageRequest]) -> Any:
        from flux1.pipeline.pipeline import FluxPipeline
        from flux1.weights.lora.read import read_lora

        loras = requests[0].loras  # those of all: options of the call, not of a prompt
        for use in loras:  # what is wrong with one is said before a model is loaded
            read_lora(Path(use.name), source.variant.transformer)
        pipeline = FluxPipeline.from_pretrained(
            source, device=device, dtype=dtype, memory=memory, progress=False
        )
        for use in loras:
            pipeline.load_lora(use.name)
        return pipeline

    def peaks(pipeline: Any) -> Mapping[str, int]:
        from flux1.pipeline.memory import peaks

        return peaks(pipeline.device)

    return Found(source.variant, load, peaks)


def _onnx(model: str, provider: str) -> Found:
    from flux1.runtime.folder import find_folder, is_folder, read_folder

    folder = Path(model)
    if not is_folder(folder):  # settings take a while to import
        from flux1.settings import Settings, read

        folder = find_folder(model, read(Settings).models)

    def load(requests: Sequence[ImageRequest]) -> Any:
        try:
            from flux1.runtime.pipeline import OnnxPipeline, check_request
        except ImportError as failure:
            raise DependencyError("runtime onnx", failure.name, "onnx") from failure
        for request in requests:
            check_request(request)
        return OnnxPipeline.from_folder(folder, provider)

    return Found(read_folder(folder).variant, load, lambda _: {})
