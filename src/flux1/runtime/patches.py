"""2x2 patches: latents to tokens and back, and the tokens' positions; `model/patches.py` for
arrays."""

import numpy as np
from einops import rearrange
from jaxtyping import Float


def pack(z: Float[np.ndarray, "b c h w"]) -> Float[np.ndarray, "b tokens c4"]:
    """Row-major tokens; feature index = channel * 4 + dy * 2 + dx."""
    return rearrange(z, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def unpack(
    x: Float[np.ndarray, "b tokens c4"], rows: int, columns: int
) -> Float[np.ndarray, "b c h w"]:
    """Inverse of `pack` for a grid of rows x columns tokens."""
    return rearrange(x, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, w=columns, p=2, q=2)


def image_ids(rows: int, columns: int) -> Float[np.ndarray, "tokens 3"]:
    """(0, row, column) of each image token."""
    places = np.indices((1, rows, columns), np.float32)
    return places.reshape(3, -1).T
