"""A model in as much memory as it is given: each network comes when it is asked for, and those that
do not fit beside it leave first.

What is drawn, and how, does not depend on it. A pipeline encodes every prompt before it asks for
the transformer, and asks for the autoencoder last.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch

from flux1.errors import Flux1Error, RequestError
from flux1.model.autoencoder import Autoencoder
from flux1.model.transformer import Transformer
from flux1.pipeline.encode import FluxWords, SentenceWords, TextEncoder, text_encoder
from flux1.pipeline.loaded import origin_of
from flux1.pipeline.lora import Loras
from flux1.pipeline.memory import give_back
from flux1.pipeline.memory_limit import limit_within
from flux1.pipeline.model_cost import model_cost
from flux1.pipeline.modulation_cache import ROWS_AHEAD
from flux1.pipeline.plan import Device, Estimate, Offload, Placement, Workload, plan, too_little
from flux1.request import ImageRequest, Origin, make_request
from flux1.weights.files.disk import unreadable
from flux1.weights.load import load_text, source_autoencoder, source_transformer
from flux1.weights.model_files import verify
from flux1.weights.networks import open_network
from flux1.weights.numbers.quantize import Quantization
from flux1.weights.sources import Source

T = TypeVar("T")
Name = Literal["text", "transformer", "autoencoder"]
NAMES: tuple[Name, ...] = ("text", "transformer", "autoencoder")
LEAVING: dict[Offload, dict[Name, tuple[Name, ...]]] = {  # who goes before one comes
    "none": {"text": (), "transformer": (), "autoencoder": ()},
    "text encoders": {
        "text": ("transformer", "autoencoder"),
        "transformer": ("text",),
        "autoencoder": ("text",),
    },
    "all": {
        "text": ("transformer", "autoencoder"),
        "transformer": ("text", "autoencoder"),
        "autoencoder": ("text", "transformer"),
    },
}


class Staged:
    """The networks of one model, which come and go within `memory`. For each set of requests it
    plans which of them are there at once and how they are kept. Use it from one thread at a time.

    It answers the same questions as `Loaded`.
    """

    def __init__(
        self,
        source: Source,
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
            _check_late(source)
            self._costs = model_cost(source)
        except OSError as failure:
            raise unreadable(failure) from failure
        self.variant, self.model_hash = source.variant, source.model_hash
        self.device, self.dtype = device, dtype
        self.loras = Loras(source.variant.transformer, device, dtype)
        self.estimate: Estimate | None = None  # of what was prepared last
        self._limit = limit_within(memory, device, source.variant)
        self._source, self._quantize = source, quantize
        self._inside: dict[Name, Any] = {}
        self._words: FluxWords | SentenceWords | None = None

    def __repr__(self) -> str:
        return f"Staged({self.variant.id!r}, {self._limit})"

    @property
    def text(self) -> TextEncoder:
        """The text encoder, loaded now if it is not here."""
        return self._ask("text", self._load_text)

    @property
    def transformer(self) -> Transformer:
        """The transformer, loaded now if it is not here."""
        return self._ask("transformer", self._load_transformer)

    @property
    def autoencoder(self) -> Autoencoder:
        """The autoencoder, loaded now if it is not here."""
        return self._ask("autoencoder", self._load_autoencoder)

    @property
    def origin(self) -> Origin:
        """The weights, device and number format that a picture's recipe names."""
        return origin_of(self.model_hash, self.device, self.dtype)

    @property
    def tokens_per_call(self) -> int:
        """The image and text tokens that may share a model call."""
        return self._placement.tokens_per_call

    @property
    def exact_tiling(self) -> bool:
        """True if pictures are decoded a strip of rows at a time, exactly."""
        return self._placement.exact_tiling

    @property
    def comes_and_goes(self) -> bool:
        """True: networks may leave while others work."""
        return True

    @property
    def all_resident(self) -> bool:
        """True if all networks are in memory at once, as they were prepared last."""
        return self._placement.offload == "none"

    @property
    def nbytes(self) -> int:
        """The bytes of the device's memory that it may take, weights and computing together."""
        return self._limit.ram if self._limit.vram is None else self._limit.vram

    def prepare(self, requests: Sequence[ImageRequest]) -> None:
        """Plan how to draw these requests together; networks that are kept otherwise leave.

        Flux1Error, naming the least that would do, if the memory is too little for them.
        """
        self._adopt(self._plan(requests))

    def check(self, request: ImageRequest) -> None:
        """RequestError if the memory is too little to draw this request among many others."""
        try:
            self._plan([replace(request, num_images=ROWS_AHEAD)])
        except Flux1Error as little:
            size = f"{request.width}x{request.height}"
            raise RequestError("size", f"{size} does not fit: {little}") from little

    def count_tokens(self, prompt: str) -> int:
        """The number of tokens that the text encoder reads of a prompt."""
        if self._words is None:
            self._ask("text", self._load_text)  # its tokenizers stay when it leaves
        assert self._words is not None
        return self._words.count(prompt)

    @property
    def _placement(self) -> Placement:
        """The placement with which the requests prepared last are drawn; if none were, that of a
        picture of the usual size."""
        if self.estimate is None:
            self.prepare([make_request(self.variant, "any", seed=0)])
        assert self.estimate is not None
        return self.estimate.placement

    def _plan(self, requests: Sequence[ImageRequest]) -> Estimate:
        device: Device = "cuda" if self.device.type == "cuda" else "cpu"
        workload = replace(Workload.of(self.variant, requests), loras=self.loras.file_bytes)
        estimates = plan(
            self._costs,
            workload,
            self._limit,
            {device: self.dtype},
            quantizations=(self._quantize,),
        )
        if estimates[0].lacks:
            raise too_little(self.variant, workload, self._limit, estimates)
        return estimates[0]

    def _adopt(self, estimate: Estimate) -> None:
        """From now on draw by this estimate; networks that are kept otherwise, or were together,
        leave."""
        before, self.estimate = self.estimate, estimate
        placement = estimate.placement
        if before is None:
            return
        if before.placement.offload != placement.offload:
            self._leave(NAMES)
        if before.placement.keep_text != placement.keep_text:
            self._leave(["text"])
        if before.placement.keep != placement.keep:
            self._leave(["transformer"])

    def _ask(self, name: Name, load: Callable[[Placement], T]) -> T:
        """A network that is there, or comes now."""
        if name not in self._inside:
            placement = self._placement
            self._leave(LEAVING[placement.offload][name])
            try:
                self._inside[name] = load(placement)
            except OSError as failure:
                raise unreadable(failure) from failure
            give_back()  # what was passed through
        found: T = self._inside[name]
        return found

    def _leave(self, names: Sequence[Name]) -> None:
        """Drop networks, and give their memory back."""
        there = [name for name in names if name in self._inside]
        if "transformer" in there:
            self.loras.detach()
        for name in there:
            del self._inside[name]
        if there:
            give_back()

    def _load_text(self, placement: Placement) -> TextEncoder:
        quantize = self._quantize if placement.keep_text == "plain" else None
        parts = load_text(self._source, self.dtype, self.device, placement.keep_text, quantize)
        encoder = text_encoder(parts, self.variant.text)
        self._words = encoder.words
        return encoder

    def _load_transformer(self, placement: Placement) -> Transformer:
        transformer = source_transformer(
            self._source, self.dtype, self.device, placement.keep, self._quantize
        )
        self.loras.attach(transformer)
        return transformer

    def _load_autoencoder(self, placement: Placement) -> Autoencoder:
        return source_autoencoder(self._source, self.dtype, self.device)


def _check_late(source: Source) -> None:
    """WeightsError for names and shapes of the networks that come late, before the text encoders
    have worked."""
    if source.files is not None:
        open_network(source.files.networks["transformer"], "transformer", source)
        open_network(source.files.networks["autoencoder"], "autoencoder", source)
