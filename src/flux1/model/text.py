"""FLUX.1's text encoders: token ids to token states, and to a vector. The networks are
`transformers`'.

Each class imports `transformers` when it is built, not before: that import takes seconds.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flux1.model.config import ClipConfig, T5Config


class ClipText(nn.Module):
    """CLIP's text tower, read at the first end-of-text token, without the projection."""

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
                hidden_act="quick_gelu",
                bos_token_id=config.vocab_size - 2,
                eos_token_id=config.vocab_size - 1,
                pad_token_id=config.vocab_size - 1,
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
                feed_forward_proj="gated-gelu",
                is_encoder_decoder=False,
                use_cache=False,
                dropout_rate=0.0,
            )
        )
        for block in self.t5.encoder.block:
            block.layer[-1].DenseReluDense = GatedMlp(block.layer[-1].DenseReluDense)

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        everything = torch.ones_like(ids)
        return self.t5(input_ids=ids, attention_mask=everything).last_hidden_state


class GatedMlp(nn.Module):
    """T5's, as `transformers` has it, but that it never asks for a weight: a stored one would be
    decoded to tell its dtype."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.wi_0, self.wi_1, self.wo = theirs.wi_0, theirs.wi_1, theirs.wo
        self.act = theirs.act

    def forward(self, x: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
        return self.wo(self.act(self.wi_0(x)) * self.wi_1(x))
