"""Random lines: the heights of hills and ridges, one for each column of a picture."""

import numpy as np
from jaxtyping import Float

Line = Float[np.ndarray, "w"]


def rolling(
    rng: np.random.Generator, x: Line, bumps: float, octaves: int = 3, fall: float = 0.5
) -> Line:
    """Smooth line in about -1..1: waves of random phase, each octave weaker by `fall`."""
    line = np.zeros_like(x)
    for octave in range(octaves):
        wave = 2 * np.pi * bumps * 1.83**octave * rng.uniform(0.8, 1.2)
        line += np.float32(fall**octave) * np.sin(x * np.float32(wave) + rng.uniform(0, 6.283))
    return (line / sum(fall**octave for octave in range(octaves))).astype(np.float32)


def jagged(rng: np.random.Generator, x: Line, peaks: int, rough: float = 0.5) -> Line:
    """Line of straight slopes in 0..1, with about so many peaks: halves are displaced, as
    mountains are drawn."""
    heights = rng.uniform(0, 1, 2 * peaks + 1)
    heights[::2] *= 0.5
    heights[1::2] = 0.55 + 0.45 * heights[1::2]
    for level in range(3):
        middle = (heights[:-1] + heights[1:]) / 2
        middle += rng.uniform(-1, 1, len(middle)) * rough * 0.25 / 2**level
        heights = np.insert(heights, np.arange(1, len(heights)), middle)
    places = np.linspace(x[0] - 0.05, x[-1] + 0.05, len(heights))
    return np.clip(np.interp(x, places, heights), 0, 1).astype(np.float32)
