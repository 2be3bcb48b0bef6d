"""Prompt to picture in one process. Read `FluxPipeline.stream` first: it is the whole path."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, overload

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image

from flux1.errors import Flux1Error, RequestError
from flux1.events import Finished, Step
from flux1.flow.guidance import Condition, guidance_of
from flux1.flow.noise import initial_noise
from flux1.flow.schedule import TIMES, spaced
from flux1.flow.solvers import EULER_IN_DTYPE, SOLVERS
from flux1.habits import unknown_attribute
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import pack
from flux1.model.transformer import Transformer
from flux1.notes import Notes
from flux1.pipeline.advance import advance
from flux1.pipeline.decode import decode
from flux1.pipeline.encode import Conditioning, TextEncoder
from flux1.pipeline.job import Job
from flux1.pipeline.load import Networks, choose_device, choose_dtype, load
from flux1.pipeline.lora import LoadedLora
from flux1.pipeline.progress import drawing, loading
from flux1.pipeline.rounding import dtype_of
from flux1.pipeline.upscale import upscale
from flux1.request import Asked, ImageRequest, Origin, make_request
from flux1.variants import Variant
from flux1.weights.numbers.keep import Keep
from flux1.weights.numbers.quantize import Quantization
from flux1.weights.sources import Source


@dataclass(frozen=True)
class Pictures:
    """The answer to a call: pictures, the seed that draws each alone, and what was asked.

    `dropped` is what the text encoder had no room for: the end of the prompt (and of the negative
    prompt), '' if it read all. `notes` is what else a person should know, a line each:
    words that the model never learnt, a size that it was not trained at.
    """

    images: list[Image]
    seeds: list[int]
    request: ImageRequest
    dropped: str = ""
    notes: tuple[str, ...] = ()


class FluxPipeline:
    """Networks that draw. Build it with `FluxPipeline.from_pretrained(...)`, or of `networks` that
    were loaded (`Loaded`) or come as memory allows (`Staged`)."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self._remembered: dict[tuple[str, int | None], Conditioning] = {}

    def __repr__(self) -> str:
        return f"FluxPipeline({self.networks!r})"

    if not TYPE_CHECKING:  # a type checker knows every attribute that there is

        def __getattr__(self, name: str) -> object:
            raise AttributeError(unknown_attribute(name), name=name, obj=self)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | Source = "flux-mini",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        memory: int | str | None = None,
        keep: Keep = "plain",
        quantize: Quantization | None = None,
        progress: bool | None = None,
    ) -> "FluxPipeline":
        """Load a model by name ('flux-mini', 'flux-dev', ...), from a folder or a file of weights,
        or from a source that was found (`weights.sources.locate`).

        `device` defaults to CUDA where there is a card, else the CPU; `dtype` to bfloat16 there
        and float32 on the CPU. `memory` is the most that the card may hold, or without one this
        process: '6GB', bytes, or 'auto' for what is free; networks then come and go as it allows.
        Without it all are loaded now, and `keep` says how: their weights decoded ('plain'), as the
        file has them ('packed'), or left in the file ('mapped'). `quantize` turns them into eight
        bits ('int8', 'int8_dynamic', 'fp8'). `progress` says on standard error that loading goes
        on, or False that it does not; None: on a terminal and in a notebook.

        Raises UnknownModelError, MissingWeightsError or WeightsError; Flux1Error for what this
        machine or these options do not allow.
        """
        name = name_or_path.variant.id if isinstance(name_or_path, Source) else str(name_or_path)
        with loading(name, progress):
            return cls(
                load(
                    name_or_path,
                    device=device,
                    dtype=dtype,
                    memory=memory,
                    keep=keep,
                    quantize=quantize,
                )
            )

    @property
    def variant(self) -> Variant:
        """The row of the model."""
        return self.networks.variant

    @property
    def transformer(self) -> Transformer:
        """The networks' transformer."""
        return self.networks.transformer

    @property
    def autoencoder(self) -> Autoencoder:
        """The networks' autoencoder."""
        return self.networks.autoencoder

    @property
    def text(self) -> TextEncoder:
        """The networks' text encoder."""
        return self.networks.text

    @property
    def device(self) -> torch.device:
        """The device on which the networks compute."""
        return self.networks.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format in which the networks compute."""
        return self.networks.dtype

    @property
    def origin(self) -> Origin:
        """The weights, device and number format that a picture's recipe names."""
        return self.networks.origin

    def to(self, place: str | torch.device | torch.dtype) -> "FluxPipeline":
        """This pipeline, if it computes on that device or in that number format already. Networks
        are placed when they are loaded: otherwise a Flux1Error says how to load them so."""
        if isinstance(place, torch.dtype):
            number = choose_dtype(place, self.device)
            option, there = "dtype", number == self.dtype
        else:
            device = choose_device(place)
            option = "device"
            there = (device.type, device.index or 0) == (self.device.type, self.device.index or 0)
        if there:
            return self
        value = str(place).removeprefix("torch.")
        raise Flux1Error(
            f"to: networks are placed when they are loaded; "
            f"FluxPipeline.from_pretrained(..., {option}={value!r})"
        )

    @overload
    def __call__(
        self,
        prompt: str,
        *,
        callback: Callable[[Step], None] | None = None,
        progress: bool | None = None,
        **asked: Unpack[Asked],
    ) -> Pictures: ...

    @overload
    def __call__(
        self,
        prompt: list[str] | tuple[str, ...],
        *,
        callback: Callable[[Step], None] | None = None,
        progress: bool | None = None,
        **asked: Unpack[Asked],
    ) -> list[Pictures]: ...

    def __call__(
        self,
        prompt: str | list[str] | tuple[str, ...],
        *,
        callback: Callable[[Step], None] | None = None,
        progress: bool | None = None,
        **asked: Unpack[Asked],
    ) -> Pictures | list[Pictures]:
        """Draw `num_images` pictures of `prompt`; picture k is that of seed + k drawn alone
        (to rounding: at most one of 255 levels apart). Several prompts in a list share model calls
        and are answered by a list.

        What is not `asked` takes the model's own defaults: width, height, seed, num_images, steps,
        guidance, true_cfg, negative_prompt, solver, schedule, loras, like, upscale (see
        `request.Asked`). `loras` are names of loaded LoRAs or files, or pairs of that and a scale.
        `callback` is called with every step of every picture; its `preview()` decodes the clean
        estimate. `progress` shows a bar on standard error, or False none; None: on a terminal and
        in a notebook. Raises RequestError, and for a LoRA's file WeightsError.
        """
        prompts = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(prompts, list | tuple) or not prompts:
            raise RequestError("prompt", f"{prompt!r} is neither text nor a list of texts")
        requests = [make_request(self.variant, one, **asked) for one in prompts]
        with drawing(sum(one.steps * one.num_images for one in requests), progress) as tick:

            def on_step(step: Step) -> None:
                tick()
                if callback is not None:
                    callback(step)

            drawn = self.draw_together(requests, on_step)
        return drawn[0] if isinstance(prompt, str) else drawn

    def load_lora(self, path: str | Path, name: str | None = None) -> LoadedLora:
        """Read a LoRA's file and keep it ready under `name` (by default its path); a line says what
        it touches. What had that name is replaced. Raises MissingWeightsError or WeightsError."""
        name = str(path) if name is None else name
        self.networks.loras.load(Path(path), name)
        return self.networks.loras[name]

    def unload_lora(self, name: str) -> None:
        """Take a LoRA away: the pipeline is what it was before. RequestError if it is not there."""
        self.networks.loras.unload(name)

    def loaded_lora(self, name: str) -> LoadedLora:
        """RequestError if it is not there."""
        return self.networks.loras[name]

    def draw(
        self, request: ImageRequest, callback: Callable[[Step], None] | None = None
    ) -> Pictures:
        """The pictures of a request."""
        return self.draw_together([request], callback)[0]

    def draw_together(
        self, requests: Sequence[ImageRequest], callback: Callable[[Step], None] | None = None
    ) -> list[Pictures]:
        """The stream of several requests, collected: the pictures of each."""
        finished: dict[int, Finished] = {}
        for event in self.stream(requests):
            if isinstance(event, Finished):
                finished[event.image] = event
            elif callback is not None:
                callback(event)
        ordered = iter([finished[image] for image in sorted(finished)])
        return [
            self._collected(request, list(islice(ordered, request.num_images)))
            for request in requests
        ]

    def _collected(self, request: ImageRequest, finished: list[Finished]) -> Pictures:
        return Pictures(
            [event.picture for event in finished],
            [event.seed for event in finished],
            request,
            self.dropped(request),
            self.notes(request),
        )

    def dropped(self, request: ImageRequest) -> str:
        """The end of a request's words that the text encoder has no room for, '' if it reads
        all."""
        return " ".join(filter(None, (text.dropped for text in self.conditions(request).values())))

    @cached_property
    def notes(self) -> Notes:
        """Called with a request: what a person should know of it, a line each."""
        return Notes(self.variant, self._meanings)

    def _meanings(self, texts: Sequence[str]) -> list[tuple[Float[np.ndarray, " d"], int]]:
        return [
            (found.pooled.float().cpu().numpy(), int(found.txt.any(dim=1).sum()))
            for found in self.text(texts)
        ]

    def stream(self, requests: Sequence[ImageRequest]) -> Iterator[Step | Finished]:
        """Encode, start, advance until done, decode. Images are numbered across all requests."""
        for request in requests:
            if request.model != self.variant.id:
                raise RequestError(
                    "model", f"the request is for {request.model}, this is {self.variant.id}"
                )
        self.networks.loras.prepare([use for request in requests for use in request.loras])
        self.networks.prepare(requests)
        seeds = [r.seed + k for r in requests for k in range(r.num_images)]
        owners = [r for r in requests for _ in range(r.num_images)]
        jobs = [self.start(r, seed) for r, seed in zip(owners, seeds, strict=True)]
        while waiting := [i for i, job in enumerate(jobs) if not job.done]:
            advance([jobs[i] for i in waiting], self.transformer, self.networks.tokens_per_call)
            for i in waiting:
                step, rest = divmod(jobs[i].evaluations, owners[i].evaluations_per_step)
                if rest == 0:
                    preview = self._preview(jobs[i], owners[i])
                    yield Step(i, step, owners[i].steps, jobs[i].t, preview)
                if jobs[i].done:
                    yield Finished(i, seeds[i], self.finish(jobs[i].x, owners[i]))

    def start(self, request: ImageRequest, seed: int) -> Job:
        """One image of a request, ready to advance: its noise, times, solver, conditions and LoRAs
        (which must be loaded: RequestError)."""
        variant, preset, loras = self.variant, request.preset, self.networks.loras
        rows, columns = variant.grid(request)
        latents = dtype_of(preset.latents, self.networks.dtype)
        channels = variant.autoencoder.latent_channels
        noise = pack(initial_noise(seed, channels, 2 * rows, 2 * columns, latents))[0]
        job = Job(
            noise,
            self._times(request),
            EULER_IN_DTYPE if preset.rounds_steps else SOLVERS[request.solver],
            self.conditions(request),
            guidance_of(request.conditions, request.true_cfg),
            request.guidance,
            (rows, columns),
            loras.taken(request.loras),
            preset,
        )
        loras.draws(job, request.loras)
        return job

    def _times(self, request: ImageRequest) -> list[float]:
        """When each step begins, and the end: from 1 down to 0."""
        schedule, preset = self.variant.schedule, request.preset
        tokens = self.variant.tokens(request).image
        mu = schedule.mu(tokens) if preset.shift is None else preset.shift
        shifted = TIMES[preset.times](request.steps, mu if self.variant.time_shift else None)
        return spaced(shifted, request.schedule)

    def conditions(self, request: ImageRequest) -> dict[Condition, Conditioning]:
        """A request's words, encoded: the prompt, and the negative one where that is used."""
        at_least = request.preset.text_at_least
        return {name: self.encode(text, at_least) for name, text in request.words.items()}

    def encode(self, prompt: str, at_least: int | None = None) -> Conditioning:
        """A prompt's conditioning; the 64 used last are remembered. From one thread at a time.
        `at_least` as a TextEncoder takes it."""
        found = self._remembered.pop((prompt, at_least), None)
        if found is None:
            (found,) = self.text([prompt], at_least)
        self._remembered[prompt, at_least] = found
        if len(self._remembered) > 64:
            self._remembered.pop(next(iter(self._remembered)))
        return found

    def decode(self, tokens: torch.Tensor, request: ImageRequest) -> Image:
        """The picture that a request's finished (or estimated) tokens stand for."""
        grid, networks = self.variant.grid(request), self.networks
        return decode(tokens, *grid, networks.autoencoder, request.preset, networks.exact_tiling)

    def finish(self, tokens: torch.Tensor, request: ImageRequest) -> Image:
        """The picture that a request asked for: decoded, and enlarged if it is to be."""
        return upscale(self.decode(tokens, request), request.upscale, self.device)

    def _preview(self, job: Job, request: ImageRequest) -> Callable[[], Image]:
        estimate = job.estimate
        assert estimate is not None  # set by the evaluation just made
        return lambda: self.decode(estimate, request)
