"""The FLUX.1 transformer: noisy image tokens, text tokens, time and guidance to velocity.

Module names are those of BFL's checkpoints (`flux1-dev.safetensors`), so they load as they are.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flux1.model.attention import Attention, attention
from flux1.model.blocks import DoubleStreamBlock, LastLayer, SingleStreamBlock
from flux1.model.config import TransformerConfig
from flux1.model.embed import SINUSOID_WIDTH, MlpEmbedder, sinusoid
from flux1.model.rope import rope_table


class Transformer(nn.Module):
    """v = noise - image, predicted for every image token.

    `attention` is what its blocks attend with; another one may be put in its place, for example a
    faster kernel.
    """

    def __init__(self, config: TransformerConfig, attention: Attention = attention) -> None:
        super().__init__()
        self.config, self.attention = config, attention
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
    ) -> Float[Tensor, "b image out"]:
        """`t` in [0, 1], 1 = noise. `guidance` is the distilled scale (3.5, not 3500); it must be
        given exactly when the model embeds it (ValueError otherwise). Both are embedded in their
        own dtype: the reference gives them in the network's.
        """
        vec = self.vector(t, pooled, guidance)
        rope = rope_table(
            torch.cat([txt_ids, img_ids], dim=1), self.config.axes_dim, self.config.theta
        )

        x, txt = self.img_in(img), self.txt_in(txt)
        for block in self.double_blocks:
            x, txt = block(x, txt, vec, rope, self.attention)
        x = torch.cat([txt, x], dim=1)
        for block in self.single_blocks:
            x = block(x, vec, rope, self.attention)
        return self.final_layer(x[:, txt.shape[1] :], vec)

    def vector(
        self,
        t: Float[Tensor, " b"],
        pooled: Float[Tensor, "b p"],
        guidance: Float[Tensor, " b"] | None,
    ) -> Float[Tensor, "b d"]:
        """The modulation vector of time, pooled text and guidance. Arguments as in `forward`."""
        if (guidance is not None) != self.config.guidance_embed:
            wanted = "needs a" if self.config.guidance_embed else "has no"
            raise ValueError(f"this transformer {wanted} guidance embedding")
        vec = self.time_in(sinusoid(t).to(pooled.dtype)) + self.vector_in(pooled)
        if guidance is not None:
            vec = vec + self.guidance_in(sinusoid(guidance).to(pooled.dtype))
        return vec

    @torch.no_grad()
    def at_guidance(self, scale: float) -> "Transformer":
        """A copy without a guidance embedding that answers as this network told `scale` does: what
        is embedded is then a constant, and joins the bias of the time's embedding."""
        twin = Transformer(replace(self.config, guidance_embed=False)).eval()
        twin.to(self.img_in.weight).load_state_dict(self.state_dict(), strict=False)
        guidance = torch.full((1,), scale, dtype=self.img_in.weight.dtype).to(
            self.img_in.weight.device
        )
        twin.time_in.out_layer.bias.add_(self.guidance_in(sinusoid(guidance))[0])
        return twin
