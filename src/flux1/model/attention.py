"""Joint attention over text and image tokens."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from flux1.model.rope import apply_rope

Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Queries, keys, values (b, heads, tokens, dim) and rotations to (b, tokens, heads x dim)."""


class RMSNorm(nn.Module):
    """Root mean square norm over a head, computed in fp32, cast back before the scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
        return unit_rms(x) * self.scale


def unit_rms(x: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
    """x / rms(x), computed in fp32, in x's dtype."""
    x32 = x.float()
    return (x32 * torch.rsqrt(x32.square().mean(dim=-1, keepdim=True) + 1e-6)).to(x.dtype)


class QKNorm(nn.Module):
    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.query_norm = RMSNorm(head_dim)
        self.key_norm = RMSNorm(head_dim)


class SelfAttention(nn.Module):
    """The weights of one stream's attention: fused qkv, QK norm, output projection."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.norm = QKNorm(hidden_size // num_heads)
        self.proj = nn.Linear(hidden_size, hidden_size)


def split_heads(
    qkv: Float[Tensor, "b tokens three_d"], norm: QKNorm, num_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Fused rows [Q | K | V], head-major within each, to normed (b, heads, tokens, dim)."""
    q, k, v = rearrange(qkv, "b l (three h d) -> three b h l d", three=3, h=num_heads)
    return norm.query_norm(q), norm.key_norm(k), v


def attention(
    q: Float[Tensor, "b heads tokens dim"],
    k: Float[Tensor, "b heads tokens dim"],
    v: Float[Tensor, "b heads tokens dim"],
    rope: Float[Tensor, "2 b tokens half"],
) -> Float[Tensor, "b tokens d"]:
    """Softmax attention with rotary positions: no mask, not causal, scale 1/sqrt(dim)."""
    out = F.scaled_dot_product_attention(apply_rope(q, rope), apply_rope(k, rope), v)
    return rearrange(out, "b h l d -> b l (h d)")
