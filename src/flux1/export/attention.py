"""Attention and rotary positions, in operators that every version of ONNX has."""

import numpy as np

from flux1.export.graph import FLOAT, Value

Table = tuple[Value, Value]  # cosines and sines


def split_heads(x: Value, num_heads: int) -> Value:
    """(b, tokens, d) to (b, tokens, heads, dim)."""
    return x.reshape(0, 0, num_heads, -1)


def attention(q: Value, k: Value, v: Value, scale: float, bias: Value | None = None) -> Value:
    """softmax(scale q k^T + bias) v, of (b, tokens, heads, dim), heads joined: (b, tokens, d)."""
    q = q.transpose(0, 2, 1, 3)
    scores = (q * scale if scale != 1 else q) @ k.transpose(0, 2, 3, 1)
    if bias is not None:
        scores = scores + bias
    out = scores.softmax() @ v.transpose(0, 2, 1, 3)
    return out.transpose(0, 2, 1, 3).reshape(0, 0, -1)


def rope_table(ids: Value, axes_dim: tuple[int, ...], theta: int) -> Table:
    """(tokens, 3) to cosines and sines (tokens, 1, dim): each pair's angle stands twice.

    The angles are one product with a matrix that has the frequencies of each axis in its row, and
    zeros elsewhere: id * omega + 0 + 0, so nothing is rounded that was not.
    """
    frequencies = np.zeros((len(axes_dim), sum(axes_dim)))
    start = 0
    for axis, dim in enumerate(axes_dim):
        omega = 1.0 / theta ** (np.arange(0, dim, 2) / dim)
        frequencies[axis, start : start + dim] = np.repeat(omega, 2)
        start += dim
    angles = (ids @ frequencies).unsqueeze(1)
    graph = ids.graph
    return graph.node("Cos", angles), graph.node("Sin", angles)


def apply_rope(x: Value, table: Table, dim: int) -> Value:
    """Rotate elements (2j, 2j+1) of each head by the j-th angle, in float32.

    (x0, x1) -> (-x1, x0) is a product with a matrix of 0, 1 and -1: exact, and quicker than to
    take every other number.
    """
    cos, sin = table
    quarter_turn = np.zeros((dim, dim))
    even = np.arange(0, dim, 2)
    quarter_turn[even + 1, even], quarter_turn[even, even + 1] = -1, 1
    whole = x.to(FLOAT)
    return (whole * cos + (whole @ quarter_turn) * sin).to(x.type)
