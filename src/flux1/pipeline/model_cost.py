"""A model's weights in numbers, and how much arithmetic drawing with them takes: counted from its
shapes, and from its files' headers where they are here. Nothing is read or allocated."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from flux1.model.autoencoder import Autoencoder
from flux1.model.bert import BertText
from flux1.model.config import (
    AutoencoderConfig,
    BertConfig,
    ClipConfig,
    T5Config,
    TransformerConfig,
)
from flux1.model.transformer import Transformer
from flux1.pipeline.footprint import modulation_numbers
from flux1.variants import Encoder, Text, Variant
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.kinds.kind import Kind
from flux1.weights.kinds.table import KINDS
from flux1.weights.numbers.keep import Keep
from flux1.weights.sources import Source

PUBLISHED = 2.0  # bytes of a number in the files that are not here: bfloat16
DECODING = 32  # bytes of a number, while a whole matrix in fewer than 16 bits is decoded


@dataclass(frozen=True)
class Weights:
    """A network's weights, in numbers: its linear layers' matrices, its vocabulary, and the rest,
    which is always plain. `once` of the matrices' are used once for many calls (the modulation, if
    it is not plain), `largest` is the largest matrix, `stored` the bytes that the file takes for a
    number, 0 if no file has them."""

    matrices: int
    vocabulary: int
    rest: int
    largest: int
    stored: float = PUBLISHED
    once: int = 0

    @property
    def used(self) -> int:
        """Numbers that each call reads."""
        return self.matrices - self.once

    @property
    def file_bytes(self) -> int:
        """The bytes that it takes on disk."""
        return round((self.matrices + self.vocabulary + self.rest) * self.stored)

    def held(self, keep: Keep, dtype: torch.dtype, quantized: bool) -> int:
        """Bytes that are taken between calls."""
        width = dtype.itemsize
        of_large: dict[Keep, float] = {
            "plain": self.matrices * (1 if quantized else width) + self.vocabulary * width,
            "packed": (self.matrices + self.vocabulary) * self.stored,
            "mapped": 0,
        }
        return round(of_large[keep]) + self.rest * width

    def passing(self, keep: Keep) -> int:
        """Bytes of the file that are there beside that, for a moment: the tensor that is being
        loaded, or the layer that is being used and the next."""
        if keep == "mapped":
            return round(2 * self.largest * self.stored)
        decoding = DECODING if keep == "plain" and 0 < self.stored < 2 else 0
        return round(max(self.largest * (decoding + self.stored), self.vocabulary * self.stored))


@dataclass(frozen=True)
class ModelCost:
    """A model's networks. The text encoders come and go together; the autoencoder, the smallest, is
    always plain."""

    variant: Variant
    text: tuple[Weights, ...]
    transformer: Weights
    autoencoder: Weights

    @property
    def keeps(self) -> tuple[Keep, ...]:
        """The forms in which the transformer can be kept."""
        return ("plain", "packed", "mapped") if self.transformer.stored else ("plain",)

    @property
    def text_keeps(self) -> tuple[Keep, ...]:
        """The forms in which the text encoders can be kept: a sentence encoder is always plain."""
        stored = all(KINDS[kind].stored for kind in self.variant.text.encoders)
        return self.keeps if stored else ("plain",)


def model_cost(model: Variant | Source) -> ModelCost:
    """The cost of a variant's published files, or of a source's own. WeightsError if one is
    damaged."""
    if isinstance(model, Variant):
        text = _text(model.text)
        autoencoder = _walked(Autoencoder, model.autoencoder)
        transformer = _walked(Transformer, model.transformer)
        once = modulation_numbers(model.transformer) * model.transformer.hidden_size
        return ModelCost(model, text, replace(transformer, once=once), autoencoder)
    found = model_cost(model.variant)
    files = model.files
    if files is None or files.computed:  # computed: no file has them as they are
        return replace(found, transformer=replace(found.transformer, stored=0.0))
    return replace(
        found,
        text=tuple(
            _read(weights, one, kind)
            for weights, (kind, one) in zip(found.text, files.text.items(), strict=True)
        ),
        transformer=_read(found.transformer, files.networks["transformer"], "transformer"),
        autoencoder=_read(found.autoencoder, files.networks["autoencoder"], "autoencoder"),
    )


def call_flops(config: TransformerConfig, tokens: int) -> int:
    """FLOPs of one transformer call on one picture with this many image and text tokens. The
    modulation, one row in each layer, is left out."""
    width, mlp = config.hidden_size, config.mlp_size
    linear = 2 * tokens * (4 * width**2 + 2 * width * mlp)
    return (config.depth + config.depth_single_blocks) * (linear + 4 * tokens**2 * width)


def encode_flops(text: Text, tokens: int) -> int:
    """FLOPs of encoding one prompt: T5's linear layers; the rest is small."""
    if text.t5 is None:
        return 0
    return 2 * tokens * _t5(text.t5).matrices


def decode_flops(config: AutoencoderConfig, pixels: int) -> int:
    """FLOPs of decoding one picture, as a whole: its convolutions and its attention."""
    widths = [config.channels * factor for factor in config.channel_mult]
    coarse, top = pixels // config.downscale**2, widths[-1]
    square = 9 * top**2
    numbers = coarse * (9 * config.latent_channels * top + 4 * square + 4 * top**2)
    before = top
    for level in reversed(range(len(widths))):
        width, positions = widths[level], pixels // 4**level
        first = 9 * before * width + 9 * width**2 + (before * width if before != width else 0)
        numbers += positions * (first + config.res_blocks * 18 * width**2)
        if level > 0:
            numbers += 4 * positions * 9 * width**2
        before = width
    numbers += pixels * 9 * widths[0] * config.in_channels
    return 2 * numbers + 4 * coarse**2 * top


def _text(text: Text) -> tuple[Weights, ...]:
    return tuple(COUNTED[kind](config) for kind, config in text.encoders.items())


def _clip(config: ClipConfig) -> Weights:
    """CLIP's weights, counted by hand: building it would import `transformers`, which takes
    seconds."""
    width, inner = config.hidden_size, config.intermediate_size
    return Weights(
        matrices=config.num_layers * (4 * width**2 + 2 * width * inner),
        vocabulary=config.vocab_size * width,
        rest=config.num_layers * (9 * width + inner) + (2 + config.max_length) * width,
        largest=width * inner,
    )


def _t5(config: T5Config) -> Weights:
    """T5's weights, counted by hand as above."""
    width, inner = config.hidden_size, config.num_heads * config.head_dim
    forward = config.intermediate_size * width
    return Weights(
        matrices=config.num_layers * (4 * width * inner + (3 if config.gated else 2) * forward),
        vocabulary=config.vocab_size * width,
        rest=(2 * config.num_layers + 1) * width + config.buckets * config.num_heads,
        largest=max(forward, width * inner),
    )


def _bert(config: BertConfig) -> Weights:
    return _walked(BertText, config)


def _walked(build: Callable[..., nn.Module], config: object) -> Weights:
    """Counted on a network of shapes alone."""
    with torch.device("meta"):
        network = build(config)
    linear = [m.weight.numel() for m in network.modules() if isinstance(m, nn.Linear)]
    everything = [parameter.numel() for parameter in network.parameters()]
    return Weights(
        matrices=sum(linear),
        vocabulary=0,
        rest=sum(everything) - sum(linear),
        largest=max(linear, default=max(everything)),
    )


def _read(weights: Weights, checkpoint: Checkpoint, kind: Kind) -> Weights:
    """With what the file takes for a number, on average."""
    stored = checkpoint.raw(kind).tensors.stored
    size = sum(tensor.size for tensor in stored.values())
    return replace(weights, stored=size / (weights.matrices + weights.vocabulary + weights.rest))


COUNTED: dict[Encoder, Callable[[Any], Weights]] = {"clip": _clip, "t5": _t5, "bert": _bert}
