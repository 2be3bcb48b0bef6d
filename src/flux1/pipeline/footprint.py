"""The bytes that drawing takes beside the weights: closed forms of encoding a prompt, of a model
call and of a decode.

All count what is alive at the fullest moment, as the code of `model/` keeps it (no gradients), and
are bounds that are near: measured on a CPU, a call takes 0.9 to 1 of what is said here, a decode
0.8 to 1. What does not grow with the picture (a kernel's own scratch) is left out.
"""

import torch

from flux1.model.config import AutoencoderConfig, T5Config, TransformerConfig
from flux1.pipeline.exact_tiling import strip_rows
from flux1.variants import Variant


def encode_bytes(config: T5Config, dtype: torch.dtype, tokens: int) -> int:
    """Bytes of encoding one prompt of so many tokens by T5; other text networks are small beside
    it.

    All layers share one bias for each head and pair of tokens. Beside it there is, in the
    attention, a copy of it and about 8 numbers for each of a token's channels, or, in the
    feed-forward part, 4 for each of its units and 2 a channel. Before the first layer, each pair's
    place in the table of biases is found in 64-bit integers, 7 at a time.

    T5-XXL in fp32 at 512 tokens: 0.20 GB.
    """
    pairs, size = tokens**2, dtype.itemsize
    states, units = tokens * config.hidden_size * size, tokens * config.intermediate_size * size
    bias = config.num_heads * pairs * size
    first = 7 * pairs * torch.int64.itemsize + 3 * states
    return max(first, bias + max(bias + 8 * states, 4 * units + 2 * states))


def call_bytes(config: TransformerConfig, dtype: torch.dtype, tokens: int) -> int:
    """Bytes of one transformer call with `tokens` image and text tokens in all of its rows.

    The fullest moment is the end of a single-stream block. For each token of width d, with an MLP
    of width m, it holds the block's input (d), its first projection (3d + m, alive as long as the
    queries that are a part of it), what was attended (d), the activated MLP (m), these two joined
    (d + m), and the second projection (d): 7d + 3m. Scores are not kept: the attention is computed
    in tiles. A double-stream block stays below (9d + 2m), and so do the rotations, though they are
    computed in fp32. Beside that stay the table of the rotations (fp32, a cosine and a sine for
    each pair of a head's channels) and the text's states, here counted for every token.

    FLUX.1 in bf16 (d = 3072, m = 4d): 125 kB a token, 0.58 GB for 1024x1024 (4608 tokens).
    """
    width, mlp = config.hidden_size, config.mlp_size
    activations = 7 * width + 3 * mlp + config.context_in_dim
    rotations = config.head_dim * torch.float32.itemsize
    return tokens * (activations * dtype.itemsize + rotations)


def modulation_numbers(config: TransformerConfig) -> int:
    """The count of numbers in one evaluation's modulation, computed beforehand: shift, scale and
    gate of four branches in a double-stream block and one in a single-stream block, shift and scale
    of the last layer. FLUX.1: 1.06 million."""
    return config.hidden_size * (12 * config.depth + 3 * config.depth_single_blocks + 2)


def decode_bytes(config: AutoencoderConfig, dtype: torch.dtype, pixels: int) -> int:
    """Bytes of decoding one picture of `pixels` (height x width).

    A level of width c, with b channels coming in, holds its input (b) to its end. Inside its later
    residual blocks there are also the block's input, its first half, that activated, and the
    second convolution's result: b + 4c numbers a position. The first block of a level, from b to c
    channels, has b + b + c at its first convolution. The upsampling to the next level has b + c at
    its own positions, and at four times as many c before and c after its convolution. A convolution
    may copy its input and its result into the layout that it computes in (cuDNN and oneDNN do),
    which makes that b + 6c, 3b + 2c, and b + c + 4 (4c) = b + 17c. Level i has a 4^i-th of the
    positions; the attention, at the coarsest, stays below (where there are two levels or more).

    FLUX.1 in bf16: 1216 numbers a pixel, 2.55 GB (2.4 GiB) for 1024x1024. Its tensors alone are
    768 a pixel, 1.6 GB.
    """
    widths = [config.channels * factor for factor in config.channel_mult]
    inputs = [*widths[1:], widths[-1]]
    numbers = max(
        max(b + 6 * c, 3 * b + 2 * c) if level == 0 else (b + 17 * c) / 4**level
        for level, (c, b) in enumerate(zip(widths, inputs, strict=True))
    )
    numbers += config.latent_channels / config.downscale**2
    return round(pixels * numbers * dtype.itemsize)


def tiled_bytes(config: AutoencoderConfig, dtype: torch.dtype, height: int, width: int) -> int:
    """Bytes of decoding one picture of that size by exact tiling (pipeline/exact_tiling.py).

    The first block of a level holds what the level before it ended with (b channels at a quarter of
    the positions), and two maps of its own c channels. A strip of b channels, with the rows that it
    shares with its neighbours, is there three times, and once and a half in fp32, while it is
    upsampled, convolved and normed.

    FLUX.1 in bf16: 320 numbers a pixel and 0.13 GB of scratch, 0.80 GB for 1024x1024.
    """
    widths = [config.channels * factor for factor in config.channel_mult]
    inputs = [*widths[1:], widths[-1]]
    most = 0.0
    for level, (c, b) in enumerate(zip(widths, inputs, strict=True)):
        rows, columns = height >> level, width >> level
        kept = rows * columns * (b / 4 + 2 * c) * dtype.itemsize
        strip = min(rows, strip_rows(b, columns) + 4) * columns * b
        most = max(most, kept + strip * (3 * dtype.itemsize + 6))
    return round(most)


def picture_bytes(variant: Variant, dtype: torch.dtype, pixels: int) -> int:
    """The least that drawing one picture takes: one evaluation at a time, then the decode."""
    tokens = pixels // variant.size_multiple**2 + variant.text.max_tokens
    return max(
        call_bytes(variant.transformer, dtype, tokens),
        decode_bytes(variant.autoencoder, dtype, pixels),
    )
