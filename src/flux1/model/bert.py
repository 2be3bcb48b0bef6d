"""flux-mini's text network: a BERT encoder (Devlin et al. 2018, arXiv 1810.04805), read for its
token states and their mean.

Module names are those of published checkpoints, so they load as they are. It is written here,
unlike the encoders of FLUX.1, because importing `transformers` for it would be half of the time
to the first picture (docs/decisions/0007-bert-is-ours.md).
"""

from dataclasses import dataclass

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from flux1.model.config import BertConfig

NORM_EPS = 1e-12
TOKEN_KINDS = 2  # of BERT's training on pairs of sentences; here all are of the first


@dataclass(frozen=True)
class BertFeatures:
    states: Float[Tensor, "b l d"]
    pooled: Float[Tensor, "b d"]


class BertText(nn.Module):
    """A sentence encoder in both slots: its token states (zero at padding) and their mean."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = nn.ModuleDict({"embeddings": Embeddings(config), "encoder": Encoder(config)})

    def forward(self, ids: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"]) -> BertFeatures:
        """`mask` is true at words, false at padding, which no word then sees."""
        states = self.bert["encoder"](self.bert["embeddings"](ids), mask)
        states = states * mask[..., None]
        pooled = states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        return BertFeatures(states, pooled)


class Embeddings(nn.Module):
    """Words, places and kinds, added and normed."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_positions, width)
        self.token_type_embeddings = nn.Embedding(TOKEN_KINDS, width)
        self.LayerNorm = nn.LayerNorm(width, NORM_EPS)

    def forward(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        places = self.position_embeddings.weight[: ids.shape[1]]
        first_kind = self.token_type_embeddings.weight[0]
        return self.LayerNorm(self.word_embeddings(ids) + first_kind + places)


class Encoder(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_layers))

    def forward(
        self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
    ) -> Float[Tensor, "b l d"]:
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Layer(nn.Module):
    """Attention, then an MLP, each with its norm behind it (post-norm)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.attention = nn.ModuleDict(
            {"self": SelfAttention(config), "output": Residual(width, width)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, config.intermediate_size)})
        self.output = Residual(config.intermediate_size, width)

    def forward(
        self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
    ) -> Float[Tensor, "b l d"]:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class SelfAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b l d"], mask: Bool[Tensor, "b l"]
    ) -> Float[Tensor, "b l d"]:
        q, k, v = (
            rearrange(part(x), "b l (h d) -> b h l d", h=self.num_heads)
            for part in (self.query, self.key, self.value)
        )
        seen = rearrange(mask, "b l -> b 1 1 l")
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return rearrange(out, "b h l d -> b l (h d)")


class Residual(nn.Module):
    """norm(dense(new) + old)."""

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_dim, width)
        self.LayerNorm = nn.LayerNorm(width, NORM_EPS)

    def forward(
        self, new: Float[Tensor, "b l i"], old: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b l d"]:
        normed: Tensor = self.LayerNorm(self.dense(new) + old)
        return normed
