"""The FLUX.1 transformer: its names, its config, its row.

diffusers splits the fused `qkv` and `linear1`, and swaps the two halves of the last modulation
(theirs is scale, shift; BFL's is shift, scale). What no tensor shows, how a head's width divides
among the axes, is that of the known model with such heads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flux1.errors import OutputError, WeightsError
from flux1.model.config import TransformerConfig
from flux1.model.transformer import Transformer
from flux1.variants import VARIANTS
from flux1.weights.kinds.family import relatives
from flux1.weights.kinds.keys import ConfigFile, Keys, Only
from flux1.weights.kinds.kind import Described, Description, NetworkKind, Part, Places, State
from flux1.weights.kinds.lines import Line, Naming, linear
from flux1.weights.kinds.shapes import count_blocks, matrix, shape_of, shapes_of

KEYS = Keys(  # FluxTransformer2DModel's
    used={
        "in_channels": 64, "out_channels": None, "num_layers": 19, "num_single_layers": 38,
        "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
        "pooled_projection_dim": 768, "guidance_embeds": False, "axes_dims_rope": (16, 56, 56),
    },
    only={
        "_class_name": Only("FluxTransformer2DModel", ("FluxTransformer2DModel",)),
        "patch_size": Only(1, (1,)),
    },
)  # fmt: skip
BFL_ENDS = ("img_in", "txt_in", "time_in", "vector_in", "guidance_in", "final_layer")
DIFFUSERS_ENDS = ("x_embedder", "context_embedder", "time_text_embed", "norm_out", "proj_out")


def transformer_config(config_file: ConfigFile) -> TransformerConfig:
    """A FluxTransformer2DModel's config.json."""
    found = KEYS.read(config_file)
    heads, in_channels = found["num_attention_heads"], found["in_channels"]
    return TransformerConfig(
        in_channels=in_channels,
        out_channels=found["out_channels"] or in_channels,
        vec_in_dim=found["pooled_projection_dim"],
        context_in_dim=found["joint_attention_dim"],
        hidden_size=heads * found["attention_head_dim"],
        num_heads=heads,
        depth=found["num_layers"],
        depth_single_blocks=found["num_single_layers"],
        axes_dim=tuple(found["axes_dims_rope"]),
        guidance_embed=found["guidance_embeds"],
    )


def diffusers_transformer_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of FluxTransformer2DModel's config.json.

    OutputError where diffusers has no key for a shape of ours.
    """
    if config.mlp_ratio != 4.0 or config.theta != 10_000:
        raise OutputError(
            f"diffusers has mlp_ratio 4 and theta 10000 only, this model has {config.mlp_ratio} "
            f"and {config.theta}"
        )
    return {
        "_class_name": "FluxTransformer2DModel",
        "patch_size": 1,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "num_layers": config.depth,
        "num_single_layers": config.depth_single_blocks,
        "attention_head_dim": config.head_dim,
        "num_attention_heads": config.num_heads,
        "joint_attention_dim": config.context_in_dim,
        "pooled_projection_dim": config.vec_in_dim,
        "guidance_embeds": config.guidance_embed,
        "axes_dims_rope": list(config.axes_dim),
    }


# The double and single blocks, and the tensors whose shapes tell a transformer's: image and text
# input, pooled text, output, a head's norm, an MLP, guidance.
BFL_NAMES = (
    "double_blocks",
    "single_blocks",
    "img_in",
    "txt_in",
    "vector_in.in_layer",
    "final_layer.linear",
    "double_blocks.0.img_attn.norm.query_norm.scale",
    "double_blocks.0.img_mlp.0",
    "guidance_in.in_layer.weight",
)
DIFFUSERS_NAMES = (
    "transformer_blocks",
    "single_transformer_blocks",
    "x_embedder",
    "context_embedder",
    "time_text_embed.text_embedder.linear_1",
    "proj_out",
    "transformer_blocks.0.attn.norm_q.weight",
    "transformer_blocks.0.ff.net.0.proj",
    "time_text_embed.guidance_embedder.linear_1.weight",
)


def transformer_shape(part: Part) -> TransformerConfig:
    """The shape of a transformer in BFL's or diffusers' names. WeightsError if it is none that this
    network can have."""
    shapes = shapes_of(part)
    names = DIFFUSERS_NAMES if part.dialect == "diffusers" else BFL_NAMES
    double, single, image, text, pooled, out, norm, mlp, guidance = names
    width, in_channels = matrix(shapes, image)
    (head,) = shape_of(shapes, norm, 1)
    known = (v.transformer for v in VARIANTS if v.transformer.head_dim == head)
    axes = next((config.axes_dim for config in known), None)
    if axes is None or width % head:
        raise WeightsError(f"heads of {head} numbers in {width} are not known")
    return TransformerConfig(
        in_channels=in_channels,
        out_channels=matrix(shapes, out)[0],
        vec_in_dim=matrix(shapes, pooled)[1],
        context_in_dim=matrix(shapes, text)[1],
        hidden_size=width,
        mlp_ratio=matrix(shapes, mlp)[0] / width,
        num_heads=width // head,
        depth=count_blocks(shapes, double),
        depth_single_blocks=count_blocks(shapes, single),
        axes_dim=axes,
        guidance_embed=guidance in shapes,
    )


def transformer_table(config: TransformerConfig) -> list[Line]:
    """Every tensor of a transformer of this shape: 780 lines for dev, 776 for schnell."""
    return list(_transformer_lines(config))


def _transformer_lines(config: TransformerConfig) -> Iterator[Line]:
    yield from linear("img_in", "x_embedder")
    yield from linear("txt_in", "context_embedder")
    embedders = {"time_in": "timestep_embedder", "vector_in": "text_embedder"}
    if config.guidance_embed:
        embedders["guidance_in"] = "guidance_embedder"
    for ours, theirs in embedders.items():
        yield from linear(f"{ours}.in_layer", f"time_text_embed.{theirs}.linear_1")
        yield from linear(f"{ours}.out_layer", f"time_text_embed.{theirs}.linear_2")
    for i in range(config.depth):
        for stream in STREAMS:
            yield from _stream_lines(i, stream, config.hidden_size)
    for i in range(config.depth_single_blocks):
        yield from _single_lines(i, config)
    yield from linear("final_layer.adaLN_modulation.1", "norm_out.linear", form="swapped")
    yield from linear("final_layer.linear", "proj_out")


@dataclass(frozen=True)
class _Stream:
    """diffusers' names of one half of a double block."""

    ours: str
    norm: str
    qkv: tuple[str, str, str]
    normed: tuple[str, str]
    out: str
    mlp: str


STREAMS = (
    _Stream("img", "norm1", ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"), "to_out.0", "ff"),
    _Stream(
        "txt",
        "norm1_context",
        ("add_q_proj", "add_k_proj", "add_v_proj"),
        ("norm_added_q", "norm_added_k"),
        "to_add_out",
        "ff_context",
    ),
)


def _stream_lines(i: int, stream: _Stream, width: int) -> Iterator[Line]:
    ours, theirs = f"double_blocks.{i}.{stream.ours}", f"transformer_blocks.{i}"
    parts = [f"{theirs}.attn.{part}" for part in stream.qkv]
    yield from linear(f"{ours}_mod.lin", f"{theirs}.{stream.norm}.linear")
    yield from linear(f"{ours}_attn.qkv", *parts, form="fused", rows=(width,) * 3)
    yield from _norms(f"{ours}_attn", f"{theirs}.attn", stream.normed)
    yield from linear(f"{ours}_attn.proj", f"{theirs}.attn.{stream.out}")
    yield from linear(f"{ours}_mlp.0", f"{theirs}.{stream.mlp}.net.0.proj")
    yield from linear(f"{ours}_mlp.2", f"{theirs}.{stream.mlp}.net.2")


def _single_lines(i: int, config: TransformerConfig) -> Iterator[Line]:
    ours, theirs = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
    parts = [f"{theirs}.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    rows = (*[config.hidden_size] * 3, config.mlp_size)
    yield from linear(f"{ours}.modulation.lin", f"{theirs}.norm.linear")
    yield from linear(f"{ours}.linear1", *parts, form="fused", rows=rows)
    yield from linear(f"{ours}.linear2", f"{theirs}.proj_out")
    yield from _norms(ours, f"{theirs}.attn", ("norm_q", "norm_k"))


def _norms(ours: str, theirs: str, normed: tuple[str, str]) -> Iterator[Line]:
    for name, part in zip(("query", "key"), normed, strict=True):
        yield Line(f"{ours}.norm.{name}_norm.scale", (f"{theirs}.{part}.weight",))


NAMING = Naming(transformer_table)


def _spelled(state: State, layout: str, config: TransformerConfig) -> State:
    return NAMING.diffusers(state, config) if layout == "diffusers" else state


def _describe(part: Part, called: str) -> Described:
    config = transformer_shape(part)
    shipped = next((v for v in VARIANTS if v.transformer == config and v.repository is None), None)
    known = relatives(config)
    blocks = f"{config.depth} + {config.depth_single_blocks} blocks of width {config.hidden_size}"
    if shipped is not None:
        what, licence = shipped.title, shipped.licence.name
    elif known is None:
        what, licence = f"of FLUX.1's kind, {blocks}", ""
    else:
        by_name = [title for title in known.titles if _distinct(title) in called.lower()]
        what = str(known) if _is_whole(config) else f"like {known}, with {blocks}"
        if len(known.titles) > 1 and by_name:
            what += f"; by its name {by_name[-1]}"
        licence = f"{known.licence.name}, {known.licence.url}"
    return Described(what, licence, NAMING.wanted(part.dialect, config), lambda name: name)


def _is_whole(config: TransformerConfig) -> bool:
    """Return whether it has all blocks of FLUX.1's."""
    usual = TransformerConfig()
    return (config.depth, config.depth_single_blocks) == (usual.depth, usual.depth_single_blocks)


def _distinct(title: str) -> str:
    """'kontext' of 'FLUX.1 Kontext [dev]'; '[dev]' of 'FLUX.1 [dev]', which no file name has."""
    return title.lower().split()[1]


TRANSFORMER = NetworkKind(
    id="transformer",
    title="a transformer",
    build=Transformer,
    signatures={
        "bfl": "double_blocks.0.img_attn.qkv.",
        "diffusers": "transformer_blocks.0.attn.add_q_proj.",
    },
    ours=NAMING.ours,
    describe=_describe,
    description=Description(
        transformer_config, diffusers_transformer_config, transformer_shape, ("axes_dim",)
    ),
    places=Places("transformer", "diffusion_pytorch_model"),
    spelled=_spelled,
    stored=True,
    quantised="arithmetic",
    large=True,
    prefix="model.diffusion_model.",
    gguf="flux",
    ends=(*BFL_ENDS, *DIFFUSERS_ENDS),
    skipped=DIFFUSERS_ENDS,
    adapted=True,
)
