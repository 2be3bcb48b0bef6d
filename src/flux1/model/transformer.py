"""The FLUX.1 transformer: noisy image tokens, text tokens, time and guidance to velocity.

Module names are those of BFL's checkpoints (`flux1-dev.safetensors`), so they load as they are.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flux1.model.blocks import DoubleStreamBlock, LastLayer, Modulation, SingleStreamBlock
from flux1.model.config import TransformerConfig
from flux1.model.embed import SINUSOID_WIDTH, MlpEmbedder, sinusoid
from flux1.model.rope import rope_table
from flux1.model.stored import StoredLinear


class Transformer(nn.Module):
    """v = noise - image, predicted for every image token."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, heads, mlp_size = config.hidden_size, config.num_heads, config.mlp_size
        self.img_in = nn.Linear(config.in_channels, width)
        self.txt_in = nn.Linear(config.context_in_dim, width)
        self.time_in = MlpEmbedder(SINUSOID_WIDTH, width)
        if config.guidance_embed:
            self.guidance_in = MlpEmbedder(SINUSOID_WIDTH, width)
        self.vector_in = MlpEmbedder(config.vec_in_dim, width)
        self.double_blocks = nn.ModuleList(
            DoubleStreamBlock(width, heads, mlp_size) for _ in range(config.depth)
        )
        self.single_blocks = nn.ModuleList(
            SingleStreamBlock(width, heads, mlp_size) for _ in range(config.depth_single_blocks)
        )
        self.final_layer = LastLayer(width, config.out_channels)

    def forward(
        self,
        img: Float[Tensor, "b image c"],
        img_ids: Int[Tensor, "b image 3"],
        txt: Float[Tensor, "b text d"],
        txt_ids: Int[Tensor, "b text 3"],
        t: Float[Tensor, " b"],
        pooled: Float[Tensor, "b p"],
        guidance: Float[Tensor, " b"] | None = None,
        modulation: Float[Tensor, "b all"] | None = None,
    ) -> Float[Tensor, "b image out"]:
        """`t` in [0, 1], 1 = noise. `guidance` is the distilled scale (3.5, not 3500); it must be
        given exactly when the model embeds it (ValueError otherwise). Both are embedded in their
        own dtype: the reference gives them in the network's.

        `modulation`: what the method of this name gives for the same t, pooled and guidance.
        """
        modulations: Iterator[list[Tensor]]
        if modulation is None:
            vec = self._vector(t, pooled, guidance)
            modulations = (part.modulations(vec) for part in self._modulated())
        else:
            modulations = iter(self._cut(modulation))
        rope = rope_table(
            torch.cat([txt_ids, img_ids], dim=1), self.config.axes_dim, self.config.theta
        )

        x, txt = self.img_in(img), self.txt_in(txt)
        for block in self.double_blocks:
            x, txt = block(x, txt, next(modulations), rope)
        x = torch.cat([txt, x], dim=1)
        for block in self.single_blocks:
            x = block(x, next(modulations), rope)
        return self.final_layer(x[:, txt.shape[1] :], next(modulations))

    @property
    def stores_modulation(self) -> bool:
        """Whether the layers of the modulation, a quarter of the weights, keep theirs in another
        form, so that computing it beforehand saves decoding or reading them in every call."""
        first = next((part for part in self.modules() if isinstance(part, Modulation)), None)
        return first is not None and isinstance(first.lin, StoredLinear)

    def modulation(
        self,
        t: Float[Tensor, " b"],
        pooled: Float[Tensor, "b p"],
        guidance: Float[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b all"]:
        """All that the blocks and the last layer are modulated by: it depends on these alone, so
        that of a whole schedule can be had before the first step, layer by layer.

        A forward that is given it has the bits of one that is not, whatever rows share either call,
        if the layers are stored; if they are not, it must be for the same rows.
        """
        vec = self._vector(t, pooled, guidance)
        found = vec.new_empty(len(vec), sum(map(sum, self._widths())))
        for part, places in zip(self._modulated(), self._cut(found), strict=True):
            for place, values in zip(places, part.modulations(vec), strict=True):
                place.copy_(values)
        return found

    def _vector(
        self,
        t: Float[Tensor, " b"],
        pooled: Float[Tensor, "b p"],
        guidance: Float[Tensor, " b"] | None,
    ) -> Float[Tensor, "b d"]:
        if (guidance is not None) != self.config.guidance_embed:
            wanted = "needs a" if self.config.guidance_embed else "has no"
            raise ValueError(f"this transformer {wanted} guidance embedding")
        vec = self.time_in(sinusoid(t).to(pooled.dtype)) + self.vector_in(pooled)
        if guidance is not None:
            vec = vec + self.guidance_in(sinusoid(guidance).to(pooled.dtype))
        return vec

    def _modulated(self) -> list[Any]:
        """What has a method `modulations`, in order."""
        return [*self.double_blocks, *self.single_blocks, self.final_layer]

    def _widths(self) -> list[list[int]]:
        """Of the modulations of each block and of the last layer."""
        width, config = self.config.hidden_size, self.config
        double, single = [[6 * width, 6 * width]], [[3 * width]]
        return double * config.depth + single * config.depth_single_blocks + [[2 * width]]

    def _cut(self, modulation: Float[Tensor, "b all"]) -> list[list[Float[Tensor, "b n"]]]:
        widths = self._widths()
        parts = iter(modulation.split(list(chain.from_iterable(widths)), dim=-1))
        return [[next(parts) for _ in group] for group in widths]

    @torch.no_grad()
    def at_guidance(self, scale: float) -> "Transformer":
        """A copy without a guidance embedding that answers as this network told `scale` does: what
        is embedded is then a constant, and joins the bias of the time's embedding."""
        twin = Transformer(replace(self.config, guidance_embed=False)).eval()
        twin.to(self.img_in.weight).load_state_dict(self.state_dict(), strict=False)
        told = torch.full((1,), scale, dtype=self.img_in.weight.dtype).to(self.img_in.weight.device)
        twin.time_in.out_layer.bias.add_(self.guidance_in(sinusoid(told))[0])
        return twin
