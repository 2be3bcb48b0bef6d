"""Is a graph its network? Both are given the same numbers, several sizes and rows at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flux1.runtime.folder import read_folder
from flux1.runtime.patches import image_ids
from flux1.runtime.sessions import OnnxNetwork, choose_provider
from flux1.variants import Variant
from flux1.weights.load import Model
from flux1.weights.upscaler import load_upscaler

GRIDS = ((1, 4, 4, 7), (2, 2, 5, 33), (3, 8, 8, 32))  # rows of the call, grid, text tokens
LATENTS = ((1, 4, 4), (2, 6, 10))  # rows of the call, height, width
TEXTS = ((1, 5), (3, 24))  # rows of the call, tokens
Arrays = dict[str, np.ndarray]
Tensors = Mapping[str, Tensor]
Cases = Iterator[tuple[Arrays, Callable[[Tensors], Sequence[Tensor]]]]


@dataclass(frozen=True)
class Difference:
    """The distance of a graph's answer from its network's: the largest distance of two numbers,
    and the largest of the network's numbers."""

    component: str
    shapes: Mapping[str, tuple[int, ...]]
    largest: float
    scale: float

    @property
    def share(self) -> float:
        """The distance as a share of the largest number."""
        return self.largest / self.scale


@torch.no_grad()
def compare(model: Model, folder: Path, provider: str = "cpu") -> list[Difference]:
    """Every graph of a folder beside the network that it was made of."""
    exported, rng = read_folder(folder), np.random.default_rng(0)
    differences = []
    for name in exported.components:
        network = OnnxNetwork(folder, exported, name, choose_provider(provider))
        for inputs, answer in CASES[name](model, exported.variant, rng):
            wanted = answer({key: torch.from_numpy(value) for key, value in inputs.items()})
            pairs = zip(network(**inputs), (tensor.numpy() for tensor in wanted), strict=True)
            apart = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
            scale = max(float(tensor.abs().max()) for tensor in wanted)
            shapes = {key: value.shape for key, value in inputs.items()}
            differences.append(Difference(name, shapes, apart, scale))
    return differences


def levels_apart(first: Image.Image, second: Image.Image) -> np.ndarray:
    """The distance of two pictures at each pixel and channel, in levels of 255."""
    return np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16))


def _transformer(model: Model, variant: Variant, rng: np.random.Generator) -> Cases:
    network, config = model.transformer, variant.transformer

    def velocity(inputs: Tensors) -> list[Tensor]:
        rows = len(inputs["timestep"])
        ids = (inputs[name].long().expand(rows, -1, -1) for name in ("img_ids", "txt_ids"))
        img_ids, txt_ids = ids
        return [
            network(
                inputs["hidden_states"],
                img_ids,
                inputs["encoder_hidden_states"],
                txt_ids,
                inputs["timestep"],
                inputs["pooled_projections"],
                inputs.get("guidance"),
            )
        ]

    for rows, height, width, tokens in GRIDS:
        inputs = {
            "hidden_states": _normal(rng, rows, height * width, config.in_channels),
            "encoder_hidden_states": 0.3 * _normal(rng, rows, tokens, config.context_in_dim),
            "pooled_projections": 0.3 * _normal(rng, rows, config.vec_in_dim),
            "img_ids": image_ids(height, width),
            "txt_ids": np.zeros((tokens, 3), np.float32),
            "timestep": np.linspace(1, 0.1, rows, dtype=np.float32),
        }
        if config.guidance_embed:
            inputs["guidance"] = np.linspace(3.5, 1, rows, dtype=np.float32)
        yield inputs, velocity


def _decoder(model: Model, variant: Variant, rng: np.random.Generator) -> Cases:
    for rows, height, width in LATENTS:
        latent = _normal(rng, rows, variant.autoencoder.latent_channels, height, width)
        yield {"latent": latent}, lambda inputs: [model.autoencoder.decoder(inputs["latent"])]


def _encoder(model: Model, variant: Variant, rng: np.random.Generator) -> Cases:
    side = variant.autoencoder.downscale
    for rows, height, width in LATENTS:
        images = rng.uniform(-1, 1, (rows, 3, side * height, side * width)).astype(np.float32)
        yield {"images": images}, lambda inputs: [model.autoencoder.posterior(inputs["images"])[0]]


def _clip(model: Model, variant: Variant, rng: np.random.Generator) -> Cases:
    clip = model.text["clip"].network
    assert variant.text.clip is not None  # its graph is there
    end = variant.text.clip.vocab_size - 1
    for rows, tokens in TEXTS:
        ids = rng.integers(0, end, (rows, tokens))
        for row, length in enumerate(rng.integers(1, tokens, rows)):
            ids[row, length:] = end
        yield {"input_ids": ids}, lambda inputs: [clip(inputs["input_ids"])]


def _t5(model: Model, variant: Variant, rng: np.random.Generator) -> Cases:
    t5 = model.text["t5"].network
    assert variant.text.t5 is not None  # its graph is there
    for rows, tokens in (*TEXTS, (1, 300)):  # so long that distances reach their last bucket
        ids = rng.integers(0, variant.text.t5.vocab_size, (rows, tokens))
        yield {"input_ids": ids}, lambda inputs: [t5(inputs["input_ids"])]


def _bert(model: Model, variant: Variant, rng: np.random.Generator) -> Cases:
    bert = model.text["bert"].network
    assert variant.text.bert is not None  # its graph is there

    def features(inputs: Tensors) -> list[Tensor]:
        found = bert(inputs["input_ids"], inputs["attention_mask"].bool())
        return [found.states, found.pooled]

    for rows, tokens in TEXTS:
        ids = rng.integers(0, variant.text.bert.vocab_size, (rows, tokens))
        lengths = rng.integers(1, tokens + 1, (rows, 1))
        mask = (np.arange(tokens) < lengths).astype(np.int64)
        yield {"input_ids": ids, "attention_mask": mask}, features


def _upscaler(model: Model, variant: Variant, rng: np.random.Generator) -> Cases:
    network = load_upscaler()
    for rows, height, width in LATENTS:
        pixels = rng.uniform(0, 1, (rows, 3, height, width)).astype(np.float32)
        yield {"pixels": pixels}, lambda inputs: [network(inputs["pixels"])]


CASES: dict[str, Callable[[Model, Variant, np.random.Generator], Cases]] = {
    "transformer": _transformer,
    "vae": _decoder,
    "vae_encoder": _encoder,
    "clip": _clip,
    "t5": _t5,
    "bert": _bert,
    "upscaler": _upscaler,
}


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)
