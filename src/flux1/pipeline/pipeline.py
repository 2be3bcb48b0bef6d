"""Prompt to picture in one process. Read `FluxPipeline.stream` first: it is the whole path."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL.Image import Image

from flux1.errors import RequestError
from flux1.events import Finished, Step
from flux1.flow.guidance import Condition, classifier_free, embedded
from flux1.flow.noise import initial_noise
from flux1.flow.schedule import sampling_times, shift_mu
from flux1.flow.solvers import EVALUATIONS_PER_STEP, SOLVERS
from flux1.model.autoencoder import Autoencoder
from flux1.model.patches import image_ids, pack
from flux1.model.transformer import Transformer
from flux1.pipeline.advance import advance
from flux1.pipeline.decode import decode
from flux1.pipeline.encode import Conditioning, TextEncoder
from flux1.pipeline.job import Job
from flux1.pipeline.lora import LoadedLora, Loras
from flux1.request import ImageRequest, LoraUse, make_request
from flux1.variants import Variant


@dataclass(frozen=True)
class Pictures:
    """What a call returns: pictures, the seed that draws each alone, and what was asked.

    `dropped` is what the text encoder had no room for: the end of the prompt (and of the negative
    prompt), '' if it read all.
    """

    images: list[Image]
    seeds: list[int]
    request: ImageRequest
    dropped: str = ""


@dataclass
class FluxPipeline:
    """A loaded model. Build it with `FluxPipeline.from_pretrained(...)`."""

    variant: Variant
    transformer: Transformer
    autoencoder: Autoencoder
    text: TextEncoder
    model_hash: str
    origin: str
    _conditions: dict[str, Conditioning] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._loras = Loras(self.transformer)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "flux-mini",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
    ) -> "FluxPipeline":
        """Load a model by name ('flux-mini', 'flux-dev', ...) or from a folder of weights.

        `device` defaults to CUDA where there is a card, else the CPU; `dtype` to bfloat16 there
        and float32 on the CPU. Raises UnknownModelError, MissingWeightsError or WeightsError.
        """
        from flux1.pipeline.load import load_pipeline

        return load_pipeline(name_or_path, device=device, dtype=dtype)

    @property
    def device(self) -> torch.device:
        return self.transformer.img_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.img_in.weight.dtype

    def __call__(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        width: int | None = None,
        height: int | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        true_cfg: float | None = None,
        seed: int | None = None,
        num_images: int = 1,
        solver: str | None = None,
        loras: Sequence[LoraUse | tuple[str, float] | str] = (),
        callback: Callable[[Step], None] | None = None,
    ) -> Pictures:
        """Draw `num_images` pictures of `prompt`; picture k is that of seed + k drawn alone
        (to rounding: at most one of 255 levels apart).

        What is left out takes the model's own defaults. `loras` are names of loaded LoRAs or files,
        or pairs of that and a scale. `callback` is told of every step of every picture; its
        `preview()` decodes the clean estimate. Raises RequestError, and for a LoRA's file
        WeightsError.
        """
        request = make_request(
            self.variant, prompt, negative_prompt=negative_prompt, width=width, height=height,
            steps=steps, guidance=guidance, true_cfg=true_cfg, seed=seed, num_images=num_images,
            solver=solver, loras=loras,
        )  # fmt: skip
        return self.draw(request, callback)

    def load_lora(self, path: str | Path, name: str | None = None) -> LoadedLora:
        """Read a LoRA's file and keep it ready under `name` (by default its path); a line says what
        it touches. What had that name is replaced. Raises MissingWeightsError or WeightsError."""
        name = str(path) if name is None else name
        self._loras.load(Path(path), name)
        return self._loras[name]

    def unload_lora(self, name: str) -> None:
        """Take a LoRA away: the pipeline is what it was before. RequestError if it is not there."""
        self._loras.unload(name)

    def loaded_lora(self, name: str) -> LoadedLora:
        """RequestError if it is not there."""
        return self._loras[name]

    def draw(
        self, request: ImageRequest, callback: Callable[[Step], None] | None = None
    ) -> Pictures:
        """The stream of a request, collected."""
        finished: list[Finished] = []
        for event in self.stream([request]):
            if isinstance(event, Finished):
                finished.append(event)
            elif callback is not None:
                callback(event)
        finished.sort(key=lambda event: event.image)
        return Pictures(
            [event.picture for event in finished],
            [event.seed for event in finished],
            request,
            self.dropped(request),
        )

    def dropped(self, request: ImageRequest) -> str:
        """What of a request's words the text encoder has no room for, '' if it reads all."""
        prompts = [request.prompt, *([request.negative_prompt] if request.true_cfg > 1 else [])]
        return " ".join(filter(None, (self.encode(prompt).dropped for prompt in prompts)))

    def stream(self, requests: Sequence[ImageRequest]) -> Iterator[Step | Finished]:
        """Encode, start, advance until done, decode. Images are numbered across all requests."""
        for request in requests:
            if request.model != self.variant.id:
                raise RequestError(
                    "model", f"the request is for {request.model}, this is {self.variant.id}"
                )
            self._loras.prepare(request.loras)
        seeds = [r.seed + k for r in requests for k in range(r.num_images)]
        owners = [r for r in requests for _ in range(r.num_images)]
        jobs = [self.start(r, seed) for r, seed in zip(owners, seeds, strict=True)]
        while waiting := [i for i, job in enumerate(jobs) if not job.done]:
            advance([jobs[i] for i in waiting], self.transformer)
            for i in waiting:
                step, rest = divmod(jobs[i].evaluations, EVALUATIONS_PER_STEP[owners[i].solver])
                if rest == 0:
                    preview = self._preview(jobs[i], owners[i])
                    yield Step(i, step, owners[i].steps, jobs[i].t, preview)
                if jobs[i].done:
                    yield Finished(i, seeds[i], self.decode(jobs[i].x, owners[i]))

    def start(self, request: ImageRequest, seed: int) -> Job:
        """One image of a request, ready to advance: its noise, times, solver, conditions and LoRAs
        (which must be loaded: RequestError)."""
        rows, columns = self._grid(request)
        channels = self.autoencoder.config.latent_channels
        noise = pack(initial_noise(seed, channels, 2 * rows, 2 * columns))[0]
        mu = shift_mu(rows * columns) if self.variant.time_shift else None
        conditions: dict[Condition, Conditioning] = {"prompt": self.encode(request.prompt)}
        guidance = embedded()
        if request.true_cfg > 1:
            conditions["negative"] = self.encode(request.negative_prompt)
            guidance = classifier_free(request.true_cfg)
        return Job(
            SOLVERS[request.solver](noise, sampling_times(request.steps, mu)),
            conditions,
            guidance,
            request.guidance,
            image_ids(rows, columns),
            self._loras.taken(request.loras),
        )

    def encode(self, prompt: str) -> Conditioning:
        """A prompt's conditioning; the 64 used last are remembered. From one thread at a time."""
        found = self._conditions.pop(prompt, None)
        if found is None:
            (found,) = self.text([prompt])
        self._conditions[prompt] = found
        if len(self._conditions) > 64:
            self._conditions.pop(next(iter(self._conditions)))
        return found

    def decode(self, tokens: torch.Tensor, request: ImageRequest) -> Image:
        """The picture that a request's finished (or estimated) tokens stand for."""
        return decode(tokens, *self._grid(request), self.autoencoder)

    def _grid(self, request: ImageRequest) -> tuple[int, int]:
        multiple = self.variant.size_multiple
        return request.height // multiple, request.width // multiple

    def _preview(self, job: Job, request: ImageRequest) -> Callable[[], Image]:
        estimate = job.estimate
        assert estimate is not None  # set by the evaluation just made
        return lambda: self.decode(estimate, request)
