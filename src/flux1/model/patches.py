"""2x2 patches: latents to tokens and back, and the tokens' positions."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor


def pack(z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens c4"]:
    """Row-major tokens; feature index = channel * 4 + dy * 2 + dx."""
    return rearrange(z, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def unpack(x: Float[Tensor, "b tokens c4"], rows: int, columns: int) -> Float[Tensor, "b c h w"]:
    """Inverse of `pack` for a grid of rows x columns tokens."""
    return rearrange(x, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, w=columns, p=2, q=2)


def image_ids(rows: int, columns: int) -> Int[Tensor, "tokens 3"]:
    """(0, row, column) of each image token."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).reshape(-1, 3)


def text_ids(tokens: int) -> Int[Tensor, "tokens 3"]:
    """All zero: text tokens are not rotated."""
    return torch.zeros(tokens, 3, dtype=torch.int64)
