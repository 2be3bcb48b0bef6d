"""The two kinds of transformer block, and the last layer."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flux1.model.attention import Attention, QKNorm, SelfAttention, attention, split_heads


class Shift(NamedTuple):
    """One modulation: LN(x) is scaled and shifted before a branch, the branch is gated after."""

    shift: Float[Tensor, "b 1 d"]
    scale: Float[Tensor, "b 1 d"]
    gate: Float[Tensor, "b 1 d"]


def modulate(
    x: Float[Tensor, "b tokens d"], shift: Float[Tensor, "b 1 d"], scale: Float[Tensor, "b 1 d"]
) -> Float[Tensor, "b tokens d"]:
    """(1 + scale) LN(x) + shift; the norm has no weights of its own."""
    return (1 + scale) * F.layer_norm(x, x.shape[-1:], eps=1e-6) + shift


class Modulation(nn.Module):
    """The modulation vector to `branches` triples (shift, scale, gate), side by side."""

    def __init__(self, hidden_size: int, branches: int) -> None:
        super().__init__()
        self.lin = nn.Linear(hidden_size, 3 * branches * hidden_size)

    def forward(self, vec: Float[Tensor, "b d"]) -> Float[Tensor, "b n"]:
        return self.lin(F.silu(vec))


def triples(numbers: Float[Tensor, "b n"], hidden_size: int) -> list[Shift]:
    """The triples that a `Modulation` gave, taken apart."""
    chunks = numbers[:, None].split(hidden_size, dim=-1)
    return [Shift(*chunks[i : i + 3]) for i in range(0, len(chunks), 3)]


def mlp(hidden_size: int, mlp_size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(hidden_size, mlp_size),
        nn.GELU(approximate="tanh"),
        nn.Linear(mlp_size, hidden_size),
    )


class DoubleStreamBlock(nn.Module):
    """Text and image each with weights of their own, joined only inside the attention."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.img_mod = Modulation(hidden_size, branches=2)
        self.img_attn = SelfAttention(hidden_size, num_heads)
        self.img_mlp = mlp(hidden_size, mlp_size)
        self.txt_mod = Modulation(hidden_size, branches=2)
        self.txt_attn = SelfAttention(hidden_size, num_heads)
        self.txt_mlp = mlp(hidden_size, mlp_size)

    def forward(
        self,
        img: Float[Tensor, "b image d"],
        txt: Float[Tensor, "b text d"],
        vec: Float[Tensor, "b d"],
        rope: Float[Tensor, "2 b tokens half"],
        attention: Attention = attention,
    ) -> tuple[Float[Tensor, "b image d"], Float[Tensor, "b text d"]]:
        """The image and text states after this block. `vec` is the modulation vector of time,
        guidance and pooled text; `rope` the rotations of text and image tokens, text first."""
        img1, img2 = triples(self.img_mod(vec), img.shape[-1])
        txt1, txt2 = triples(self.txt_mod(vec), img.shape[-1])
        heads = self.num_heads

        img_qkv = self.img_attn.qkv(modulate(img, img1.shift, img1.scale))
        txt_qkv = self.txt_attn.qkv(modulate(txt, txt1.shift, txt1.scale))
        img_q, img_k, img_v = split_heads(img_qkv, self.img_attn.norm, heads)
        txt_q, txt_k, txt_v = split_heads(txt_qkv, self.txt_attn.norm, heads)
        joined = attention(
            torch.cat([txt_q, img_q], dim=2),
            torch.cat([txt_k, img_k], dim=2),
            torch.cat([txt_v, img_v], dim=2),
            rope,
        )
        txt_out, img_out = joined.split([txt.shape[1], img.shape[1]], dim=1)

        img = img + img1.gate * self.img_attn.proj(img_out)
        img = img + img2.gate * self.img_mlp(modulate(img, img2.shift, img2.scale))
        txt = txt + txt1.gate * self.txt_attn.proj(txt_out)
        txt = txt + txt2.gate * self.txt_mlp(modulate(txt, txt2.shift, txt2.scale))
        return img, txt


class SingleStreamBlock(nn.Module):
    """One sequence, attention and MLP side by side: linear1 = [Q | K | V | MLP in]."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.widths = [3 * hidden_size, mlp_size]
        self.modulation = Modulation(hidden_size, branches=1)
        self.linear1 = nn.Linear(hidden_size, sum(self.widths))
        self.linear2 = nn.Linear(hidden_size + mlp_size, hidden_size)
        self.norm = QKNorm(hidden_size // num_heads)

    def forward(
        self,
        x: Float[Tensor, "b tokens d"],
        vec: Float[Tensor, "b d"],
        rope: Float[Tensor, "2 b tokens half"],
        attention: Attention = attention,
    ) -> Float[Tensor, "b tokens d"]:
        """The states of text and image tokens after this block. `vec` and `rope` as above."""
        (mod,) = triples(self.modulation(vec), x.shape[-1])
        qkv, hidden = self.linear1(modulate(x, mod.shift, mod.scale)).split(self.widths, dim=-1)
        attended = attention(*split_heads(qkv, self.norm, self.num_heads), rope)
        hidden = F.gelu(hidden, approximate="tanh")
        return x + mod.gate * self.linear2(torch.cat([attended, hidden], dim=-1))


class LastLayer(nn.Module):
    """Modulated norm and projection to velocities. Its rows are shift, then scale."""

    def __init__(self, hidden_size: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(
        self, x: Float[Tensor, "b tokens d"], vec: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b tokens out"]:
        """The velocity of each token. `vec` is the modulation vector."""
        shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)
        return self.linear(modulate(x, shift, scale))
