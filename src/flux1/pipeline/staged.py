"""A pipeline in as much memory as it is given: each network comes when it is asked for, and those
that do not fit beside it leave first.

What is drawn, and how, stays `FluxPipeline`'s: only where its networks come from is another. Its
stream encodes every prompt before it asks for the transformer, and asks for the autoencoder last.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch

from flux1.events import Finished, Step
from flux1.model.autoencoder import Autoencoder
from flux1.model.transformer import Transformer
from flux1.pipeline.encode import TextEncoder
from flux1.pipeline.ledger import ledger_of
from flux1.pipeline.load import text_encoder
from flux1.pipeline.lora import Loras
from flux1.pipeline.memory import give_back
from flux1.pipeline.pipeline import FluxPipeline
from flux1.pipeline.plan import Device, Estimate, Stages, Way, Work, plan, too_little
from flux1.pipeline.room import room_within
from flux1.request import ImageRequest, make_request
from flux1.weights.load import load_text, source_autoencoder, source_transformer
from flux1.weights.model_files import verify
from flux1.weights.numbers.quantize import Quantization
from flux1.weights.recognise.networks import open_network
from flux1.weights.sources import Source, unreadable

T = TypeVar("T")
Name = Literal["text", "transformer", "autoencoder"]
NAMES: tuple[Name, ...] = ("text", "transformer", "autoencoder")
LEAVING: dict[Stages, dict[Name, tuple[Name, ...]]] = {  # who goes before one comes
    "together": {"text": (), "transformer": (), "autoencoder": ()},
    "text first": {
        "text": ("transformer", "autoencoder"),
        "transformer": ("text",),
        "autoencoder": ("text",),
    },
    "one by one": {
        "text": ("transformer", "autoencoder"),
        "transformer": ("text", "autoencoder"),
        "autoencoder": ("text", "transformer"),
    },
}


def _check(source: Source) -> None:
    """WeightsError for names and shapes of the networks that come late, before the text encoders
    have worked."""
    if source.files is not None:
        open_network(source.files.transformer, "transformer", source)
        open_network(source.files.autoencoder, "autoencoder", source)


class StagedPipeline(FluxPipeline):
    """A FluxPipeline that plans, for each stream, which networks are there at once and how they
    are kept. Use it from one thread."""

    def __init__(
        self,
        source: Source,
        origin: str,
        device: torch.device,
        dtype: torch.dtype,
        memory: int | str,
        quantize: Quantization | None = None,
    ) -> None:
        """`memory` bounds what a card may hold, or without one this process: bytes, '6GB', 'auto'
        for what is free now. Nothing is loaded yet.

        Flux1Error for a memory that is none, WeightsError for damaged files.
        """
        try:
            verify(source)
            _check(source)
            self._ledger = ledger_of(source)
            self.variant, self.model_hash = source.variant, source.model_hash
        except OSError as failure:
            raise unreadable(failure) from failure
        self._room = room_within(memory, device, source.variant)
        self.origin = origin
        self._source, self._device, self._dtype, self._quantize = source, device, dtype, quantize
        self.estimate: Estimate | None = None  # of the last stream
        self._inside: dict[Name, Any] = {}
        self._conditions = {}
        self._loras = Loras(source.variant.transformer, device, dtype)

    def __repr__(self) -> str:
        return f"StagedPipeline({self.variant.id!r}, {self._room})"

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def text(self) -> TextEncoder:  # type: ignore[override]
        return self._ask("text", self._load_text)

    @property
    def transformer(self) -> Transformer:  # type: ignore[override]
        return self._ask("transformer", self._load_transformer)

    @property
    def autoencoder(self) -> Autoencoder:  # type: ignore[override]
        return self._ask("autoencoder", self._load_autoencoder)

    def stream(self, requests: Sequence[ImageRequest]) -> Iterator[Step | Finished]:
        """As FluxPipeline's. Flux1Error, naming the least that would do, if the memory is too
        little for these requests."""
        self._loras.prepare([use for request in requests for use in request.loras])
        self._adopt(self._plan(requests))
        yield from super().stream(requests)

    def _plan(self, requests: Sequence[ImageRequest]) -> Estimate:
        device: Device = "cuda" if self._device.type == "cuda" else "cpu"
        work = replace(Work.of(self.variant, requests), loras=self._loras.file_bytes)
        estimates = plan(
            self._ledger, work, self._room, {device: self._dtype}, quantizations=(self._quantize,)
        )
        if estimates[0].lacks:
            raise too_little(self.variant, work, self._room, estimates)
        return estimates[0]

    def _adopt(self, estimate: Estimate) -> None:
        """From now on draw this way; networks that are kept otherwise, or were together, leave."""
        before, self.estimate = self.estimate, estimate
        way = estimate.way
        self.tokens_per_call, self.in_strips = way.tokens_per_call, way.in_strips
        if before is None:
            return
        if before.way.stages != way.stages:
            self._leave(NAMES)
        if before.way.keep_text != way.keep_text:
            self._leave(["text"])
        if before.way.keep != way.keep:
            self._leave(["transformer"])

    def _ask(self, name: Name, load: Callable[[Way], T]) -> T:
        """A network that is there, or comes now."""
        if name not in self._inside:
            if self.estimate is None:  # it is asked for outside of a stream
                self._adopt(self._plan([make_request(self.variant, "any", seed=0)]))
            assert self.estimate is not None
            way = self.estimate.way
            self._leave(LEAVING[way.stages][name])
            try:
                self._inside[name] = load(way)
            except OSError as failure:
                raise unreadable(failure) from failure
            give_back()  # what was passed through
        found: T = self._inside[name]
        return found

    def _leave(self, names: Sequence[Name]) -> None:
        """Drop networks, and give their memory back."""
        there = [name for name in names if name in self._inside]
        if "transformer" in there:
            self._loras.detach()
        for name in there:
            del self._inside[name]
        if there:
            give_back()

    def _load_text(self, way: Way) -> TextEncoder:
        quantize = self._quantize if way.keep_text == "plain" else None
        parts = load_text(self._source, self._dtype, self._device, way.keep_text, quantize)
        return text_encoder(parts, self.variant.text)

    def _load_transformer(self, way: Way) -> Transformer:
        transformer = source_transformer(
            self._source, self._dtype, self._device, way.keep, self._quantize
        )
        self._loras.attach(transformer)
        return transformer

    def _load_autoencoder(self, way: Way) -> Autoencoder:
        return source_autoencoder(self._source, self._dtype, self._device)
