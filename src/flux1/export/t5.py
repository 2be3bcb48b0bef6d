"""T5's encoder as a graph. No mask: the padding is part of what FLUX.1 was trained on."""

import math

import numpy as np
import torch

from flux1.export.activations import ACTIVATIONS
from flux1.export.attention import attention, split_heads
from flux1.export.graph import INT64, Graph, Value
from flux1.model.config import T5Config


def write_t5(graph: Graph, config: T5Config) -> None:
    """`input_ids` to `text_embeddings`."""
    batch, tokens = "batch", "text_tokens"
    ids = graph.input("input_ids", batch, tokens, type=INT64)
    bias = _relative_bias(graph, ids, config)
    x = graph.embedding("t5.shared.weight", ids)
    for i in range(config.num_layers):
        x = _layer(f"t5.encoder.block.{i}.layer", x, bias, config)
    x = graph.rms_norm(x, "t5.encoder.final_layer_norm.weight", config.norm_eps)
    graph.output("text_embeddings", x, batch, tokens, config.hidden_size)


def _layer(name: str, x: Value, bias: Value, config: T5Config) -> Value:
    """Attention without a scale and an MLP, each with its norm before it; no biases."""
    graph = x.graph

    def linear(x: Value, part: str) -> Value:
        return graph.linear(x, f"{name}.{part}", bias=False)

    normed = graph.rms_norm(x, f"{name}.0.layer_norm.weight", config.norm_eps)
    q, k, v = (
        split_heads(linear(normed, f"0.SelfAttention.{part}"), config.num_heads) for part in "qkv"
    )
    attended = attention(q, k, v, scale=1.0, bias=bias)
    x = graph.residual(x, linear(attended, "0.SelfAttention.o"))
    normed = graph.rms_norm(x, f"{name}.1.layer_norm.weight", config.norm_eps)
    first = "1.DenseReluDense.wi_0" if config.gated else "1.DenseReluDense.wi"
    hidden = ACTIVATIONS[config.activation](linear(normed, first))
    if config.gated:
        hidden = hidden * linear(normed, "1.DenseReluDense.wi_1")
    return graph.residual(x, linear(hidden, "1.DenseReluDense.wo"))


def _relative_bias(graph: Graph, ids: Value, config: T5Config) -> Value:
    """(1, heads, tokens, tokens): what a head adds for how far, and on which side, a token is."""
    name = "t5.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    farthest = config.farthest
    places = bucket(np.arange(-farthest, farthest + 1), config.buckets, farthest)
    distances = graph.node("Gather", graph.weight(name), places)
    place = graph.node("Range", np.array(0), graph.length(ids, 1).reshape(), np.array(1))
    apart = place.unsqueeze(0) - place.unsqueeze(1)
    near = graph.node("Clip", apart, np.array(-farthest), np.array(farthest)) + np.array(farthest)
    return graph.node("Gather", distances, near).transpose(2, 0, 1).unsqueeze(0)


def bucket(distance: np.ndarray, buckets: int = 32, farthest: int = 128) -> np.ndarray:
    """A key's place less its query's, to T5's buckets: half of them for each side, half of these
    for one distance each, the others in steps that grow with the logarithm (in float32, as
    there)."""
    side = buckets // 2
    exact = side // 2
    far = torch.from_numpy(np.abs(distance))
    steps = torch.log(far.float() / exact) / math.log(farthest / exact) * (side - exact)
    grown = exact + steps.clamp(min=0).to(torch.int64)
    found = torch.where(far < exact, far, grown.clamp(max=side - 1))
    return found.numpy() + side * (distance > 0)
