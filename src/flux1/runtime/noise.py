"""torch's normal numbers without torch: the same seed is the same picture.

torch's generator is the Mersenne twister of Matsumoto and Nishimura (1998), seeded by a number's
low 32 bits. Its uniform numbers become normal ones by Box and Muller (1958): in float32 and blocks
of 16 where there are 16 or more, one pair at a time in float64 where there are fewer. The last
digits of sine, cosine and logarithm are those of the machine: up to 5e-7 may lie between two.
"""

import math

import numpy as np
from jaxtyping import Float, UInt32

BLOCK = 16


def initial_noise(seed: int, channels: int, height: int, width: int) -> Float[np.ndarray, "c h w"]:
    """The starting point of a picture: standard normal latents, as `flow/noise.py` draws them."""
    return standard_normal(seed, channels * height * width).reshape(channels, height, width)


def standard_normal(seed: int, count: int) -> Float[np.ndarray, " count"]:
    """The numbers that `torch.randn(count)` gives a CPU generator of this seed, in float32."""
    twister = np.random.RandomState(seed & 0xFFFF_FFFF)
    if count < BLOCK:
        return _pairs(twister, count)
    uniform = _uniform(twister, count)
    whole = count - count % BLOCK
    normal = np.empty(count, np.float32)
    normal[:whole] = _blocks(uniform[:whole])
    if whole < count:  # the last 16 are drawn anew, over the end of what was there
        normal[-BLOCK:] = _blocks(_uniform(twister, BLOCK))
    return normal


def _uniform(twister: np.random.RandomState, count: int) -> Float[np.ndarray, " count"]:
    """In [0, 1), of 24 bits."""
    return (_words(twister, count) & 0xFF_FFFF).astype(np.float32) * np.float32(2**-24)


def _blocks(uniform: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """In each block, number j gives the radius and number j + 8 the angle of two normal ones. Each
    step is rounded to float32, as there."""
    halves = uniform.reshape(-1, 2, BLOCK // 2)
    logarithm = np.log((1 - halves[:, 0]).astype(np.float64)).astype(np.float32)
    radius = np.sqrt(np.float32(-2) * logarithm)
    angle = (np.float32(2 * math.pi) * halves[:, 1]).astype(np.float64)
    cosine, sine = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    return np.stack([radius * cosine, radius * sine], axis=1).reshape(-1)


def _pairs(twister: np.random.RandomState, count: int) -> Float[np.ndarray, " count"]:
    """Two normal numbers of two uniform ones of 53 bits, in float64."""
    normal: list[float] = []
    while len(normal) < count:
        angle, share = (_uniform53(twister) for _ in range(2))
        radius = math.sqrt(-2 * math.log1p(-share))
        normal += [radius * math.cos(2 * math.pi * angle), radius * math.sin(2 * math.pi * angle)]
    return np.array(normal[:count], np.float32)


def _uniform53(twister: np.random.RandomState) -> float:
    high, low = _words(twister, 2).tolist()
    return float((high << 32 | low) & (2**53 - 1)) * 2.0**-53


def _words(twister: np.random.RandomState, count: int) -> UInt32[np.ndarray, " count"]:
    """The generator's own numbers, of 32 bits."""
    return np.frombuffer(twister.bytes(4 * count), "<u4")
