"""FLUX.1's text encoders: token ids to token states, and to a vector. The networks are
`transformers`'.

Each class imports `transformers` when it is built, not before: that import takes seconds.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flux1.model.config import ClipConfig, T5Config

HIGHEST_ID = 2  # as CLIP's end token: `transformers` then takes the highest id of a text for it


class ClipText(nn.Module):
    """CLIP's text tower, read at the end of the text, without the projection."""

    def __init__(self, config: ClipConfig) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        super().__init__()
        self.text_model = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                max_position_embeddings=config.max_length,
                hidden_act=config.activation,
                layer_norm_eps=config.norm_eps,
                bos_token_id=None,
                pad_token_id=None,
                eos_token_id=HIGHEST_ID if config.end_token is None else config.end_token,
            )
        )

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        return self.text_model(input_ids=ids).pooler_output


class T5Text(nn.Module):
    """T5's encoder. No attention mask: the padding is part of what FLUX.1 was trained on."""

    def __init__(self, config: T5Config) -> None:
        from transformers import T5Config as HfT5Config
        from transformers import T5EncoderModel

        super().__init__()
        self.t5 = T5EncoderModel(
            HfT5Config(
                vocab_size=config.vocab_size,
                d_model=config.hidden_size,
                d_kv=config.head_dim,
                d_ff=config.intermediate_size,
                num_layers=config.num_layers,
                num_heads=config.num_heads,
                relative_attention_num_buckets=config.buckets,
                relative_attention_max_distance=config.farthest,
                layer_norm_epsilon=config.norm_eps,
                feed_forward_proj=f"{'gated-' if config.gated else ''}{config.activation}",
                is_encoder_decoder=False,
                use_cache=False,
                dropout_rate=0.0,
            )
        )
        for block in self.t5.encoder.block:
            mlp = GatedMlp if config.gated else PlainMlp
            block.layer[-1].DenseReluDense = mlp(block.layer[-1].DenseReluDense)

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        everything = torch.ones_like(ids)
        return self.t5(input_ids=ids, attention_mask=everything).last_hidden_state


class GatedMlp(nn.Module):
    """The MLP of T5 v1.1, as `transformers` has it, but that it never asks for a weight: a stored
    one would be decoded to tell its dtype."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.wi_0, self.wi_1, self.wo = theirs.wi_0, theirs.wi_1, theirs.wo
        self.act = theirs.act

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return self.wo(self.act(self.wi_0(x)) * self.wi_1(x))


class PlainMlp(nn.Module):
    """The MLP of T5's first version, which has no gate; otherwise as above."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.wi, self.wo, self.act = theirs.wi, theirs.wo, theirs.act

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return self.wo(self.act(self.wi(x)))
