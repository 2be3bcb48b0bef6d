"""The FLUX.1 transformer as a graph; inputs and output have the names of the published ones."""

import math
from dataclasses import dataclass

import torch

from flux1.export.attention import Table, apply_rope, attention, rope_table, split_heads
from flux1.export.graph import FLOAT, Graph, Value
from flux1.model.config import TransformerConfig
from flux1.model.embed import SINUSOID_WIDTH

NORM_EPS = 1e-6


def write_transformer(graph: Graph, config: TransformerConfig) -> None:
    """`hidden_states`, ... to `latent`, the velocity. Positions have no batch dimension; `timestep`
    is in [0, 1], 1 = noise; `guidance`, the scale itself, is there if the network embeds it."""
    batch, image, text = "batch", "image_tokens", "text_tokens"
    img = graph.input("hidden_states", batch, image, config.in_channels)
    txt = graph.input("encoder_hidden_states", batch, text, config.context_in_dim)
    pooled = graph.input("pooled_projections", batch, config.vec_in_dim)
    img_ids = graph.input("img_ids", image, 3)
    txt_ids = graph.input("txt_ids", text, 3)
    scalars = {"time_in": graph.input("timestep", batch)}
    if config.guidance_embed:
        scalars["guidance_in"] = graph.input("guidance", batch)

    vec = _embedder("vector_in", pooled.to(graph.type))
    for name, scalar in scalars.items():
        vec = vec + _embedder(name, _sinusoid(scalar.to(graph.type)))
    rope = rope_table(graph.concat([txt_ids, img_ids], 0), config.axes_dim, config.theta)
    lengths = [graph.length(ids, 0) for ids in (txt_ids, img_ids)]
    blocks = _Blocks(graph, config, vec.silu(), rope, graph.concat(lengths, 0))

    x, txt = (
        graph.linear(tokens.to(graph.type), name, exact=True)
        for tokens, name in ((img, "img_in"), (txt, "txt_in"))
    )
    for i in range(config.depth):
        x, txt = blocks.double(f"double_blocks.{i}", x, txt)
    x = graph.concat([txt, x], 1)
    for i in range(config.depth_single_blocks):
        x = blocks.single(f"single_blocks.{i}", x)
    graph.output("latent", blocks.last(blocks.parted(x)[1]), batch, image, config.out_channels)


@dataclass(frozen=True)
class _Blocks:
    """The things that all blocks share: the modulation vector (activated), the rotations, and how
    many tokens are text and image."""

    graph: Graph
    config: TransformerConfig
    vec: Value
    rope: Table
    lengths: Value

    def double(self, name: str, img: Value, txt: Value) -> tuple[Value, Value]:
        """Text and image each with weights of their own, joined only inside the attention."""
        streams = {"txt": txt, "img": img}
        mods = {stream: self.modulation(f"{name}.{stream}_mod.lin", 6) for stream in streams}
        heads = []
        for stream, x in streams.items():
            shift, scale = mods[stream][:2]
            qkv = self.graph.linear(self.modulated(x, shift, scale), f"{name}.{stream}_attn.qkv")
            heads.append(self.heads(qkv, f"{name}.{stream}_attn.norm"))
        joined = self.attention(*(self.graph.concat(pair, 1) for pair in zip(*heads, strict=True)))
        for (stream, x), attended in zip(streams.items(), self.parted(joined), strict=True):
            _, _, gate1, shift2, scale2, gate2 = mods[stream]
            x = x + gate1 * self.graph.linear(attended, f"{name}.{stream}_attn.proj")
            hidden = self.graph.linear(self.modulated(x, shift2, scale2), f"{name}.{stream}_mlp.0")
            change = gate2 * self.graph.linear(hidden.gelu("tanh"), f"{name}.{stream}_mlp.2")
            streams[stream] = self.graph.called(self.graph.residual(x, change), f"{name}.{stream}")
        return streams["img"], streams["txt"]

    def single(self, name: str, x: Value) -> Value:
        """One sequence, attention and MLP side by side."""
        shift, scale, gate = self.modulation(f"{name}.modulation.lin", 3)
        width, mlp = self.config.hidden_size, self.config.mlp_size
        first = self.graph.linear(self.modulated(x, shift, scale), f"{name}.linear1")
        qkv, hidden = first.split([3 * width, mlp])
        attended = self.attention(*self.heads(qkv, f"{name}.norm"))
        both = self.graph.concat([attended, hidden.gelu("tanh")], -1)
        change = gate * self.graph.linear(both, f"{name}.linear2")
        return self.graph.called(self.graph.residual(x, change), name)

    def last(self, x: Value) -> Value:
        shift, scale = self.modulation("final_layer.adaLN_modulation.1", 2, exact=True)
        return self.graph.linear(self.modulated(x, shift, scale), "final_layer.linear", exact=True)

    def parted(self, x: Value) -> list[Value]:
        """Tokens to text's and image's."""
        return self.graph.nodes("Split", x, self.lengths, outputs=2, axis=1)

    def modulation(self, name: str, count: int, exact: bool = False) -> list[Value]:
        return self.graph.linear(self.vec, name, exact=exact).unsqueeze(1).chunk(count)

    def modulated(self, x: Value, shift: Value, scale: Value) -> Value:
        """(1 + scale) LN(x) + shift."""
        normed = self.graph.layer_norm(x, self.config.hidden_size, NORM_EPS)
        return (scale + 1.0) * normed + shift

    def heads(self, qkv: Value, norm: str) -> tuple[Value, Value, Value]:
        """Queries and keys normed, and values: (b, tokens, heads, dim)."""
        q, k, v = (split_heads(part, self.config.num_heads) for part in qkv.chunk(3))
        q = self.graph.rms_norm(q, f"{norm}.query_norm.scale")
        return q, self.graph.rms_norm(k, f"{norm}.key_norm.scale"), v

    def attention(self, q: Value, k: Value, v: Value) -> Value:
        dim = self.config.head_dim
        q, k = (apply_rope(x, self.rope, dim) for x in (q, k))
        return attention(q, k, v, dim**-0.5)


def _embedder(name: str, x: Value) -> Value:
    hidden = x.graph.linear(x, f"{name}.in_layer", exact=True).silu()
    return x.graph.linear(hidden, f"{name}.out_layer", exact=True)


def _sinusoid(x: Value) -> Value:
    """As `model/embed.py` has it: 1000 x in x's own type, the angles in float32."""
    half = SINUSOID_WIDTH // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32) / half)
    angles = (x * 1000.0).to(FLOAT).unsqueeze(1) * frequencies.numpy()
    graph = x.graph
    both = [graph.node("Cos", angles), graph.node("Sin", angles)]
    return graph.concat(both, -1).to(x.type)
