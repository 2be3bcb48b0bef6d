"""Rotary position embedding over three axes, in interleaved pairs (Su et al. 2021)."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor


def rope_table(
    ids: Int[Tensor, "*b tokens 3"] | Float[Tensor, "*b tokens 3"],
    axes_dim: tuple[int, int, int],
    theta: int,
) -> Float[Tensor, "2 *b tokens half"]:
    """Cosine and sine of every pair's angle, in fp32.

    For an axis of width d: omega_j = theta^(-2j/d), j < d/2; angle = id * omega_j. The axes'
    angles are concatenated in order. Ids are kept out of 16-bit floats: those are inexact
    above 256 (bf16) or 2048 (fp16), which corrupts large pictures.
    """
    angles = []
    for axis, dim in enumerate(axes_dim):
        exponent = torch.arange(0, dim, 2, dtype=torch.float64, device=ids.device) / dim
        omega = (1.0 / theta**exponent).float()
        angles.append(ids[..., axis, None].float() * omega)
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()])


def apply_rope(
    x: Float[Tensor, "b heads tokens dim"], table: Float[Tensor, "2 b tokens half"]
) -> Float[Tensor, "b heads tokens dim"]:
    """Rotate elements (2j, 2j+1) of each head by the j-th angle; computed in fp32."""
    cos, sin = table[0][:, None], table[1][:, None]
    even, odd = rearrange(x.float(), "... (half two) -> two ... half", two=2)
    rotated = torch.stack([cos * even - sin * odd, sin * even + cos * odd], dim=-1)
    return rotated.flatten(-2).to(x.dtype)
