"""flux-mini's sentence encoder as a graph."""

import numpy as np

from flux1.export.attention import attention, split_heads
from flux1.export.graph import FLOAT, INT64, Graph, Value
from flux1.model.bert import NORM_EPS
from flux1.model.config import BertConfig

UNSEEN = 1e4  # below all scores: its share of a softmax is 0, and float16 holds it


def write_bert(graph: Graph, config: BertConfig) -> None:
    """`input_ids` and `attention_mask` (1 at words, 0 at padding) to `text_embeddings`, zero at
    padding, and their mean over the words, `pooled_embeddings`."""
    batch, tokens, width = "batch", "text_tokens", config.hidden_size
    ids = graph.input("input_ids", batch, tokens, type=INT64)
    words = graph.input("attention_mask", batch, tokens, type=INT64).to(FLOAT)
    bias = ((words - 1.0) * UNSEEN).to(graph.type).reshape(0, 1, 1, -1)

    stem = "bert.embeddings"
    kinds = graph.weight(f"{stem}.token_type_embeddings.weight")
    places = graph.first_rows(f"{stem}.position_embeddings.weight", ids)
    x = graph.embedding(f"{stem}.word_embeddings.weight", ids) + places
    x = x + graph.node("Gather", kinds, np.array(0), axis=0)
    x = graph.layer_norm(x, width, NORM_EPS, f"{stem}.LayerNorm")
    for i in range(config.num_layers):
        x = _layer(f"bert.encoder.layer.{i}", x, bias, config)

    each = words.unsqueeze(2)
    states = graph.output("text_embeddings", x.to(FLOAT) * each, batch, tokens, width)
    count = graph.node("Max", each.sum(1), 1.0)
    graph.output("pooled_embeddings", states.sum(1) / count, batch, width)


def _layer(name: str, x: Value, bias: Value, config: BertConfig) -> Value:
    """Attention, then an MLP, each with its norm behind it."""
    graph, width = x.graph, config.hidden_size
    q, k, v = (
        split_heads(graph.linear(x, f"{name}.attention.self.{part}"), config.num_heads)
        for part in ("query", "key", "value")
    )
    attended = attention(q, k, v, scale=(width // config.num_heads) ** -0.5, bias=bias)
    x = x + graph.linear(attended, f"{name}.attention.output.dense")
    x = graph.layer_norm(x, width, NORM_EPS, f"{name}.attention.output.LayerNorm")
    hidden = graph.linear(x, f"{name}.intermediate.dense").gelu("none")
    x = x + graph.linear(hidden, f"{name}.output.dense")
    return graph.layer_norm(x, width, NORM_EPS, f"{name}.output.LayerNorm")
