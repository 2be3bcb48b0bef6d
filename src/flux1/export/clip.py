"""CLIP's text tower as a graph, read for its pooled vector."""

import numpy as np

from flux1.export.activations import ACTIVATIONS
from flux1.export.attention import attention, split_heads
from flux1.export.bert import UNSEEN
from flux1.export.graph import BOOL, INT32, INT64, Graph, Value
from flux1.model.config import ClipConfig


def write_clip(graph: Graph, config: ClipConfig) -> None:
    """`input_ids` to `pooled_embeddings`: the state at the end of the text, as configured."""
    batch, tokens, width = "batch", "text_tokens", config.hidden_size
    ids = graph.input("input_ids", batch, tokens, type=INT64)
    length = graph.length(ids, 1)
    stem = "text_model.embeddings"
    places = graph.first_rows(f"{stem}.position_embedding.weight", ids)
    x = graph.embedding(f"{stem}.token_embedding.weight", ids) + places
    square = graph.node(
        "Expand", graph.constant(-UNSEEN, graph.type), graph.concat([length] * 2, 0)
    )
    later = graph.node("Trilu", square, np.array(1), upper=1)  # what comes after is not seen
    for i in range(config.num_layers):
        x = _layer(f"text_model.encoder.layers.{i}", x, later, config)
    x = graph.layer_norm(x, width, config.norm_eps, "text_model.final_layer_norm")

    end = config.end_token
    if end is not None:
        ids = graph.node("Equal", ids, np.array(end), type=BOOL).to(INT32)
    first = graph.node("ArgMax", ids, axis=1, keepdims=1, type=INT64)
    pooled = graph.node("GatherND", x, first, batch_dims=1)
    graph.output("pooled_embeddings", pooled, batch, width)


def _layer(name: str, x: Value, bias: Value, config: ClipConfig) -> Value:
    """Attention and an MLP, each with its norm before it."""
    graph, width = x.graph, config.hidden_size
    normed = graph.layer_norm(x, width, config.norm_eps, f"{name}.layer_norm1")
    q, k, v = (
        split_heads(graph.linear(normed, f"{name}.self_attn.{part}_proj"), config.num_heads)
        for part in "qkv"
    )
    attended = attention(q, k, v, scale=(width // config.num_heads) ** -0.5, bias=bias)
    x = x + graph.linear(attended, f"{name}.self_attn.out_proj")
    normed = graph.layer_norm(x, width, config.norm_eps, f"{name}.layer_norm2")
    hidden = graph.linear(normed, f"{name}.mlp.fc1")
    hidden = ACTIVATIONS[config.activation](hidden)
    return x + graph.linear(hidden, f"{name}.mlp.fc2")
