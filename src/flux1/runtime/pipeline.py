"""Prompt to picture without torch: graphs in place of networks, all else as in `pipeline/`.

The pictures of a request have one size and one schedule, so they move as one array: a solver does
not mind how many there are.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from flux1.errors import Flux1Error, MissingWeightsError, RequestError
from flux1.events import Finished, Step
from flux1.flow.guidance import guidance_of
from flux1.flow.path import denoised
from flux1.flow.schedule import sampling_times, spaced
from flux1.flow.solvers import SOLVERS
from flux1.model.config import UpscalerConfig
from flux1.model.tiles import enlarged
from flux1.notes import Notes
from flux1.request import ImageRequest, Origin
from flux1.runtime.folder import Exported, read_folder
from flux1.runtime.noise import initial_noise
from flux1.runtime.patches import image_ids, pack, unpack
from flux1.runtime.sessions import SUFFIX, OnnxNetwork, choose_provider
from flux1.runtime.text import (
    Conditioning,
    FluxTextEncoder,
    SentenceTextEncoder,
    TextEncoder,
    Words,
)
from flux1.variants import Variant

TOKENS_PER_CALL = 16_384  # bounds the memory of a call
OPENED_LATER = ("vae_encoder", "upscaler")  # components that most pictures do without
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8"}
Tokens = Float[np.ndarray, "b image c"]


class OnnxPipeline:
    """A model as ONNX graphs. Build it with `OnnxPipeline.from_folder(...)`."""

    runtime = "onnx"

    def __init__(
        self,
        exported: Exported,
        text: TextEncoder,
        transformer: OnnxNetwork,
        decoder: OnnxNetwork,
        provider: str,
        folder: Path,
    ) -> None:
        self.exported, self.provider, self.folder = exported, provider, folder
        self._text, self.encode = text, lru_cache(maxsize=64)(text)
        self._transformer, self._decoder = transformer, decoder

    @classmethod
    def from_folder(cls, folder: str | Path, provider: str = "cpu") -> "OnnxPipeline":
        """Open what `flux1 export onnx` wrote. `provider` is an execution provider of ONNX Runtime:
        'cpu', 'cuda', 'coreml', ... MissingWeightsError, WeightsError; Flux1Error for a provider
        that is not there."""
        folder = Path(folder)
        exported, chosen = read_folder(folder), choose_provider(provider)
        names = [name for name in exported.components if name not in OPENED_LATER]
        with ThreadPoolExecutor() as pool:  # the runtime prepares a graph without Python's lock
            opened = pool.map(lambda name: OnnxNetwork(folder, exported, name, chosen), names)
            networks = dict(zip(names, opened, strict=True))
        transformer, decoder = networks.pop("transformer"), networks.pop("vae")
        text = _text_encoder(folder, exported, networks)
        return cls(exported, text, transformer, decoder, chosen, folder)

    @property
    def variant(self) -> Variant:
        return self.exported.variant

    @property
    def origin(self) -> Origin:
        """The weights, provider and number format that a picture's recipe names."""
        device = self.provider.removesuffix(SUFFIX).lower()
        return Origin(self.exported.model_hash, device, DTYPES[self.exported.dtype], self.runtime)

    def stream(self, requests: Sequence[ImageRequest]) -> Iterator[Step | Finished]:
        """Draw request after request. Images are numbered across all of them.

        RequestError for what graphs cannot do: LoRAs, and another program's roundings.
        """
        first = 0
        for request in requests:
            if request.model != self.variant.id:
                raise RequestError(
                    "model", f"the request is for {request.model}, this is {self.variant.id}"
                )
            check_request(request)
            yield from self._draw(request, first)
            first += request.num_images

    def dropped(self, request: ImageRequest) -> str:
        """The end of a request's words that the text encoder has no room for, '' if it reads
        all."""
        return " ".join(filter(None, (c.dropped for c in self._conditions(request))))

    @cached_property
    def notes(self) -> Notes:
        """Called with a request: what a person should know of it, a line each."""
        return Notes(self.variant, self._meanings)

    def _meanings(self, texts: Sequence[str]) -> list[tuple[Float[np.ndarray, " d"], int]]:
        found = (self._text(text) for text in texts)
        return [(one.pooled, int(one.txt.any(axis=1).sum())) for one in found]

    def decode(self, tokens: Float[np.ndarray, "image c"], request: ImageRequest) -> Image.Image:
        """The picture that a request's finished (or estimated) tokens stand for."""
        latents = unpack(tokens[None], *self.variant.grid(request))
        config = self.variant.autoencoder
        (pixels,) = self._decoder(latent=latents / config.scale_factor + config.shift_factor)
        if not np.isfinite(pixels).all():
            raise Flux1Error(
                f"the autoencoder returned values that are not finite in {self.exported.dtype}; "
                "export the model in fp32"
            )
        levels = np.round((pixels[0].clip(-1, 1) + 1) * 127.5)
        return Image.fromarray(levels.astype(np.uint8).transpose(1, 2, 0))

    def finish(self, tokens: Float[np.ndarray, "image c"], request: ImageRequest) -> Image.Image:
        """The picture that a request asked for: decoded, and enlarged if it is to be."""
        picture = self.decode(tokens, request)
        if request.upscale == 1:
            return picture
        upscaler = self._upscaler

        def run(pixels: np.ndarray) -> np.ndarray:
            return upscaler(pixels=pixels)[0]

        levels = enlarged(np.asarray(picture), request.upscale, run, UpscalerConfig())
        return Image.fromarray(levels)

    def field(self, request: ImageRequest) -> Callable[[Tokens, float], Tokens]:
        """v(x, t) of a request: its words, its guidance and its size are in it."""
        conditions, pictures = self._conditions(request), request.num_images
        rule = guidance_of(request.conditions, request.true_cfg)
        constant = {"img_ids": image_ids(*self.variant.grid(request))}
        constant["txt_ids"] = np.zeros((len(conditions[0].txt), 3), np.float32)
        each = {  # a row for each picture, under the prompt and then under the negative one
            "encoder_hidden_states": np.repeat([c.txt for c in conditions], pictures, axis=0),
            "pooled_projections": np.repeat([c.pooled for c in conditions], pictures, axis=0),
        }
        count = pictures * len(conditions)
        if request.guidance is not None:
            each["guidance"] = np.full(count, request.guidance, np.float32)
        tokens = len(constant["img_ids"]) + len(constant["txt_ids"])
        at_once = max(1, TOKENS_PER_CALL // tokens)

        def velocity(x: Tokens, t: float) -> Tokens:
            now = {
                "hidden_states": np.concatenate([x] * len(conditions)),
                "timestep": np.full(count, t, np.float32),
                **each,
            }
            answers = []
            for start in range(0, count, at_once):
                part = {name: rows[start : start + at_once] for name, rows in now.items()}
                answers += self._transformer(**part, **constant)
            combined = rule.combine(np.split(np.concatenate(answers), len(conditions)))
            if not np.isfinite(combined).all():
                raise Flux1Error(
                    f"the model returned values that are not finite at t = {t:.3f} in "
                    f"{self.exported.dtype}; export it in fp32"
                )
            return combined

        return velocity

    def _draw(self, request: ImageRequest, first: int) -> Iterator[Step | Finished]:
        """Encode, start, step until done, decode."""
        rows, columns = self.variant.grid(request)
        seeds = [request.seed + k for k in range(request.num_images)]
        channels = self.variant.autoencoder.latent_channels
        noise = [initial_noise(seed, channels, 2 * rows, 2 * columns) for seed in seeds]
        schedule = self.variant.schedule
        mu = schedule.mu(rows * columns) if self.variant.time_shift else None
        times = spaced(sampling_times(request.steps, mu), request.schedule)
        velocity = self.field(request)
        if request.upscale > 1:
            _ = self._upscaler  # that it is missing is said before anything is drawn

        solver = SOLVERS[request.solver].run(pack(np.stack(noise)), times)
        x, t = next(solver)
        done, evaluations = False, 0
        while not done:
            v = velocity(x, t)
            estimate = denoised(x, t, v)
            evaluations += 1
            try:
                x, t = solver.send(v)
            except StopIteration as finished:
                x, t, done = finished.value, 0.0, True
            step, rest = divmod(evaluations, request.evaluations_per_step)
            for k, seed in enumerate(seeds):
                if rest == 0:
                    preview = partial(self.decode, estimate[k], request)
                    yield Step(first + k, step, request.steps, t, preview)
                if done:
                    yield Finished(first + k, seed, self.finish(x[k], request))

    @cached_property
    def _upscaler(self) -> OnnxNetwork:
        if "upscaler" not in self.exported.components:
            raise MissingWeightsError(
                f"{self.folder}: was exported without an upscaler; export the model again"
            )
        return OnnxNetwork(self.folder, self.exported, "upscaler", self.provider)

    def _conditions(self, request: ImageRequest) -> list[Conditioning]:
        """The prompt's, and under classifier-free guidance the negative prompt's."""
        return [self.encode(text) for text in request.words.values()]


def check_request(request: ImageRequest) -> None:
    """RequestError for what graphs cannot do."""
    if request.loras:
        raise RequestError(
            "loras",
            "do not go into a graph; merge them (flux1 convert --lora), then export the result",
        )
    if request.like is not None:
        raise RequestError("like", f"{request.like!r} is matched by --runtime torch only")


def _text_encoder(
    folder: Path, exported: Exported, networks: dict[str, OnnxNetwork]
) -> TextEncoder:
    text, files = exported.variant.text, exported.tokenizers
    if text.clip is not None:
        clip_words = Words(folder / files["clip"], text.clip.max_length)
        t5_words = Words(folder / files["t5"], text.max_tokens)
        return FluxTextEncoder(networks["clip"], networks["t5"], clip_words, t5_words)
    words = Words(folder / files["bert"], text.max_tokens)
    return SentenceTextEncoder(networks["bert"], words, text.max_tokens)
