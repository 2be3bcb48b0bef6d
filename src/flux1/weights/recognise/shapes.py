"""What a network's tensors say of its shape, where no config.json does.

Widths and depths are the tensors' own. What no tensor shows (how a head's width divides among the
axes, how many groups a norm has) is that of the known model with such heads or channels.
"""

import re
from collections.abc import Mapping

from flux1.errors import WeightsError
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config, TransformerConfig
from flux1.variants import VARIANTS
from flux1.weights.recognise.names import clip_name, t5_gated, t5_name
from flux1.weights.recognise.parts import Part

Shape = tuple[int, ...]
CLIP_HEAD = 64  # numbers in a head of CLIP's


def transformer_shape(part: Part) -> TransformerConfig:
    """The shape of a transformer in BFL's or diffusers' names. WeightsError if it is none that this
    network can have."""
    shapes = _shapes(part)
    if part.dialect == "diffusers":
        double, single = "transformer_blocks", "single_transformer_blocks"
        names = (
            "x_embedder", "context_embedder", "time_text_embed.text_embedder.linear_1", "proj_out",
            f"{double}.0.attn.norm_q.weight", f"{double}.0.ff.net.0.proj",
            "time_text_embed.guidance_embedder.linear_1.weight",
        )  # fmt: skip
    else:
        double, single = "double_blocks", "single_blocks"
        names = (
            "img_in", "txt_in", "vector_in.in_layer", "final_layer.linear",
            f"{double}.0.img_attn.norm.query_norm.scale", f"{double}.0.img_mlp.0",
            "guidance_in.in_layer.weight",
        )  # fmt: skip
    image, text, pooled, out, norm, mlp, guidance = names
    width, in_channels = _matrix(shapes, image)
    (head,) = _of(shapes, norm, 1)
    known = (v.transformer for v in VARIANTS if v.transformer.head_dim == head)
    axes = next((config.axes_dim for config in known), None)
    if axes is None or width % head:
        raise WeightsError(f"heads of {head} numbers in {width} are not known")
    return TransformerConfig(
        in_channels=in_channels,
        out_channels=_matrix(shapes, out)[0],
        vec_in_dim=_matrix(shapes, pooled)[1],
        context_in_dim=_matrix(shapes, text)[1],
        hidden_size=width,
        mlp_ratio=_matrix(shapes, mlp)[0] / width,
        num_heads=width // head,
        depth=_count(shapes, double),
        depth_single_blocks=_count(shapes, single),
        axes_dim=axes,
        guidance_embed=guidance in shapes,
    )


def autoencoder_shape(part: Part) -> AutoencoderConfig:
    """The shape of an autoencoder in BFL's or diffusers' names, with FLUX.1's latents' shift and
    scale, which no tensor tells. WeightsError as above."""
    shapes = _shapes(part)
    theirs = part.dialect == "diffusers"
    down = "encoder.down_blocks" if theirs else "encoder.down"
    blocks = "resnets" if theirs else "block"
    channels, colours = _of(shapes, "encoder.conv_in.weight", 4)[:2]
    widths = [
        _of(shapes, f"{down}.{level}.{blocks}.0.conv1.weight", 4)[0]
        for level in range(_count(shapes, down))
    ]
    known = (v.autoencoder for v in VARIANTS if v.autoencoder.channels == channels)
    groups = next((config.norm_groups for config in known), None)
    if groups is None or not widths or any(width % channels for width in widths):
        raise WeightsError(f"an autoencoder of {channels} channels is not known")
    return AutoencoderConfig(
        in_channels=colours,
        channels=channels,
        channel_mult=tuple(width // channels for width in widths),
        res_blocks=_count(shapes, f"{down}.0.{blocks}"),
        latent_channels=_of(shapes, "decoder.conv_in.weight", 4)[1],
        norm_groups=groups,
    )


def clip_shape(part: Part) -> ClipConfig:
    """The shape of a CLIP text tower, whose heads are 64 wide. WeightsError as above."""
    shapes = {clip_name(name): shape for name, shape in _shapes(part).items()}
    stem = "text_model.encoder.layers"
    words, width = _of(shapes, "text_model.embeddings.token_embedding.weight", 2)
    if width % CLIP_HEAD:
        raise WeightsError(f"a CLIP of width {width} is not known")
    return ClipConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=_matrix(shapes, f"{stem}.0.mlp.fc1")[0],
        num_layers=_count(shapes, stem),
        num_heads=width // CLIP_HEAD,
        max_length=_of(shapes, "text_model.embeddings.position_embedding.weight", 2)[0],
    )


def t5_shape(part: Part) -> T5Config:
    """The shape of a T5 encoder in transformers' or llama.cpp's names: one with gated MLPs is of
    version 1.1, one without of the first. WeightsError as above."""
    gated = t5_gated(part.tensors)
    shapes = {t5_name(name, gated): shape for name, shape in _shapes(part).items()}
    stem = "t5.encoder.block"
    attention, mlp = f"{stem}.0.layer.0.SelfAttention", f"{stem}.0.layer.1.DenseReluDense"
    words, width = _of(shapes, "t5.shared.weight", 2)
    buckets, heads = _matrix(shapes, f"{attention}.relative_attention_bias")
    inner = _matrix(shapes, f"{attention}.q")[0]
    if heads == 0 or inner % heads:
        raise WeightsError(f"{heads} heads in {inner} numbers")
    return T5Config(
        vocab_size=words,
        hidden_size=width,
        head_dim=inner // heads,
        intermediate_size=_matrix(shapes, f"{mlp}.{'wi_0' if gated else 'wi'}")[0],
        num_layers=_count(shapes, stem),
        num_heads=heads,
        gated=gated,
        activation="gelu_new" if gated else "relu",
        buckets=buckets,
    )


def _shapes(part: Part) -> dict[str, Shape]:
    return {name: tensor.shape for name, tensor in part.tensors.stored.items()}


def _matrix(shapes: Mapping[str | None, Shape] | Mapping[str, Shape], name: str) -> Shape:
    return _of(shapes, f"{name}.weight", 2)


def _of(shapes: Mapping, name: str, dimensions: int) -> Shape:
    shape = shapes.get(name)
    if shape is None:
        raise WeightsError(f"missing {name}")
    if len(shape) != dimensions or 0 in shape:
        raise WeightsError(f"{name} has the shape {shape}")
    return shape


def _count(shapes: Mapping, stem: str) -> int:
    """How many numbered blocks there are under `stem`."""
    pattern = re.compile(rf"{re.escape(stem)}\.(\d+)\.")
    return len({found[1] for name in shapes if name and (found := pattern.match(name))})
