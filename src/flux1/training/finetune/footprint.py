"""The bytes that a run of finetuning takes: closed forms, by what the memory is for.

The fullest moment is the end of the forward pass, when everything that the gradient needs is kept,
or, where whole networks are trained on little data, the optimizer's step. Of a token of width d,
with an MLP of width m, a block keeps for the gradient

    double-stream    12 d + 2 m    the norms' inputs, what each linear layer reads, queries, keys
                                   and values before and after rotation, what was attended
    single-stream     9 d + 2 m    the same (values are rows of the first layer's result)

and, where modulation is trained too, the norms' results and what is gated (4 d and 2 d), and where
the norms of queries and keys are, these (2 d each). A LoRA keeps its rank for each of its layers; a
layer of the feed-forward part without one keeps nothing. In bfloat16 all this is in two bytes a
number, beside an fp32 copy of queries and keys. With recomputation, only each block's input is
kept, and all of one block.

Measured on a CPU, a run takes 0.78 to 1.01 of what is said here.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from flux1.model.config import AutoencoderConfig, TransformerConfig
from flux1.model.transformer import Transformer
from flux1.training.adamw8bit import BLOCK
from flux1.training.finetune.base_networks import check_rank, layers_of
from flux1.training.finetune.settings import SAVE_EVERY, FinetuneSettings
from flux1.training.lora import widths
from flux1.variants import Variant

FP32 = torch.float32.itemsize
# Of AdamW's two moments, bytes for every trained number; in a byte each with a scale for a block.
MOMENTS = {"adamw": 2 * FP32, "adamw8bit": 2 + 2 * FP32 / BLOCK}
STEP = 1  # what its step makes beside them on a graphics card; on a CPU it is less


@dataclass(frozen=True)
class TrainingFootprint:
    """Bytes of one process. `weights` of the transformer; `trained`: moments and averages of what
    learns, and the numbers themselves where they are beside the weights; `gradients`; `activations`
    of a step, kept for the gradient; `step`: what the optimizer needs for a moment."""

    weights: int
    trained: int
    gradients: int
    activations: int
    step: int

    @property
    def total(self) -> int:
        """At the fullest moment."""
        return self.weights + self.trained + max(self.activations, self.gradients + self.step)


def training_bytes(
    variant: Variant,
    settings: FinetuneSettings,
    recompute: bool = False,
    processes: int = 1,
    weights: int | None = None,
) -> TrainingFootprint:
    """The bytes of memory that it takes to train with these settings, without the networks that
    only prepare and preview.

    `weights`: bytes of the transformer where it is kept packed, quantised or in its file.
    Processes share weights, and what is trained where all is; branches are whole in each, and so
    are weights that are not kept plain. DataError if a rank is above a layer's width.
    """
    config, full = variant.transformer, settings.method == "full"
    size = getattr(torch, settings.precision).itemsize
    numbers, trained = _numbers(config), _trained(config, settings)
    held = numbers * (FP32 if full else size) // processes if weights is None else weights
    averages = 1 if settings.ema_decay else 0
    beside = trained * FP32 * (averages + (0 if full else 1))
    beside += round(trained * MOMENTS[settings.optimizer])
    shared = processes if full else 1
    pictures = -(-settings.batch_size // processes)
    image = max(settings.resolutions) ** 2 // variant.size_multiple**2
    tokens = pictures * (image + variant.text.max_tokens)
    copies = trained * size if size < FP32 else 0  # in the narrow dtype, for the products
    return TrainingFootprint(
        weights=held,
        trained=beside // shared,
        gradients=trained * FP32 // shared,
        activations=copies + activation_bytes(config, settings, tokens, recompute),
        step=trained * FP32 * STEP // shared,
    )


def checkpoint_bytes(variant: Variant, settings: FinetuneSettings) -> int:
    """On the disk: what is trained, its moments and its averages. While a checkpoint is written the
    one before is there too."""
    averages = 1 if settings.ema_decay else 0
    each = FP32 * (1 + averages) + MOMENTS[settings.optimizer]
    return round(_trained(variant.transformer, settings) * each)


def checkpoints_kept(settings: FinetuneSettings, save_every: int | None = None) -> int:
    """Return how many checkpoints the disk has to hold at most: those that are kept under their
    step, the last one, and the next while it is written."""
    every = save_every or SAVE_EVERY[settings.method]
    return 2 + (settings.steps // every if every else 0)


def picture_encode_bytes(config: AutoencoderConfig, dtype: torch.dtype, pixels: int) -> int:
    """The bytes of memory that it takes to encode one picture of `pixels` (height x width), beside
    the autoencoder's weights.

    The fullest moment is in a block of the first level, of width c: its level's input, and what
    `decode_bytes` counts there (pipeline/footprint.py), with the pixels themselves.
    """
    return pixels * (7 * config.channels + config.in_channels) * dtype.itemsize


def activation_bytes(
    config: TransformerConfig, settings: FinetuneSettings, tokens: int, recompute: bool
) -> int:
    """Kept for the gradient of one step with so many image and text tokens in all of its rows, and
    what the last block's gradient needs beside that."""
    size = getattr(torch, settings.precision).itemsize
    width, mlp = config.hidden_size, config.mlp_size
    double, single = _kept(config, settings, size)
    if recompute:
        inputs = (config.depth + config.depth_single_blocks) * width * size
        kept = inputs + max(double, single)
    else:
        kept = config.depth * double + config.depth_single_blocks * single
    at_work = (4 * width + 3 * mlp) * size
    ends = 4 * width * size + (config.context_in_dim + 4 * config.in_channels) * FP32
    return tokens * (kept + at_work + ends)


def _kept(config: TransformerConfig, settings: FinetuneSettings, size: int) -> tuple[int, int]:
    """Bytes that a double-stream and a single-stream block keep for each token."""
    width, mlp, rank = config.hidden_size, config.mlp_size, settings.rank or 0
    full = settings.method == "full"
    forward_too = full or settings.layers in ("blocks", "all")
    modulation_too = full or settings.layers == "all"
    wide = size == FP32
    # in a narrow dtype, the norms of queries and keys read an fp32 copy and not the layer's result
    double = (11 if wide else 8) * width + mlp + 2 * rank
    single = 9 * width + 2 * mlp + 2 * rank
    if forward_too:
        double += width + mlp + 2 * rank
    if modulation_too:
        double, single = double + 4 * width, single + 2 * width
    if full:
        double, single = double + 2 * width, single + 2 * width
    copies = 0 if wide else 2 * width * FP32
    return double * size + copies, single * size + copies


def _numbers(config: TransformerConfig) -> int:
    """The weights of the transformer."""
    return sum(parameter.numel() for parameter in _shapes(config).parameters())


def _trained(config: TransformerConfig, settings: FinetuneSettings) -> int:
    """The numbers that learn: all, or a LoRA's."""
    if settings.rank is None:
        return _numbers(config)
    network = _shapes(config)
    names = layers_of(network, settings.layers, settings.only)
    check_rank(network, names, settings.rank)
    layers: list[nn.Module] = [network.get_submodule(name) for name in names]
    return settings.rank * sum(sum(widths(layer)) for layer in layers)


@lru_cache(maxsize=4)
def _shapes(config: TransformerConfig) -> Transformer:
    with torch.device("meta"):
        return Transformer(config)
