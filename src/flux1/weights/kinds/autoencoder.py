"""FLUX.1's autoencoder: its names, its config, its row.

diffusers numbers the decoder's levels from the latents up, and keeps the attention's 1x1
convolutions as linears. How many groups a norm has, which no tensor shows, is that of the known
model with such channels.
"""

from collections.abc import Iterator
from typing import Any

from flux1.errors import WeightsError
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig
from flux1.variants import VARIANTS
from flux1.weights.kinds.keys import ConfigFile, Keys, Only
from flux1.weights.kinds.kind import Described, Description, NetworkKind, Part, Places, State
from flux1.weights.kinds.lines import Line, Naming, linear
from flux1.weights.kinds.shapes import count_blocks, shape_of, shapes_of

BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
ATTENTION = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"))
KEYS = Keys(  # AutoencoderKL's
    used={
        "in_channels": 3, "out_channels": 3, "block_out_channels": (64,),
        "down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",),
        "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 32,
        "scaling_factor": 0.18215, "shift_factor": None,
    },
    only={
        "_class_name": Only("AutoencoderKL", ("AutoencoderKL",)),
        "act_fn": Only("silu", ("silu", "swish")),
        "use_quant_conv": Only(True, (False,)),
        "use_post_quant_conv": Only(True, (False,)),
        "mid_block_add_attention": Only(True, (True,)),
    },
    # FLUX.1's pipelines use neither means and deviations nor another dtype for the decoder.
    idle=frozenset({"sample_size", "latents_mean", "latents_std", "force_upcast"}),
)  # fmt: skip


def autoencoder_config(config_file: ConfigFile) -> AutoencoderConfig:
    """An AutoencoderKL's config.json."""
    found = KEYS.read(config_file)
    widths, groups, scale = (
        found[key] for key in ("block_out_channels", "norm_num_groups", "scaling_factor")
    )
    if not widths or any(not isinstance(width, int) or width % widths[0] for width in widths):
        raise WeightsError(f"block_out_channels {list(widths)} are not multiples of the first")
    for key, block in BLOCKS.items():
        if list(found[key]) != [block] * len(widths):
            raise WeightsError(f"{key} is {list(found[key])}, only {block!r}s are supported")
    if groups < 1 or widths[0] % groups:
        raise WeightsError(f"norm_num_groups {groups} does not divide {widths[0]} channels")
    if found["out_channels"] != found["in_channels"]:
        raise WeightsError(
            f"out_channels is {found['out_channels']}, only {found['in_channels']}, as go in, is "
            "supported"
        )
    shift = found["shift_factor"]
    if not isinstance(shift, int | float) or isinstance(shift, bool):
        raise WeightsError(f"shift_factor is {shift!r}, a number is needed")
    if not scale > 0:
        raise WeightsError(f"scaling_factor is {scale!r}, it must be above 0")
    return AutoencoderConfig(
        in_channels=found["in_channels"],
        channels=widths[0],
        channel_mult=tuple(width // widths[0] for width in widths),
        res_blocks=found["layers_per_block"],
        latent_channels=found["latent_channels"],
        norm_groups=groups,
        scale_factor=float(scale),
        shift_factor=float(shift),
    )


def diffusers_autoencoder_config(config: AutoencoderConfig) -> dict[str, Any]:
    """The keys of AutoencoderKL's config.json."""
    levels = len(config.channel_mult)
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": config.in_channels,
        "out_channels": config.in_channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [config.channels * m for m in config.channel_mult],
        "layers_per_block": config.res_blocks,
        "act_fn": "silu",
        "latent_channels": config.latent_channels,
        "norm_num_groups": config.norm_groups,
        "sample_size": 1024,
        "scaling_factor": config.scale_factor,
        "shift_factor": config.shift_factor,
        "latents_mean": None,
        "latents_std": None,
        "force_upcast": True,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "mid_block_add_attention": True,
    }


def autoencoder_shape(part: Part) -> AutoencoderConfig:
    """The shape of an autoencoder in BFL's or diffusers' names, with FLUX.1's latents' shift and
    scale, which no tensor tells. WeightsError as above."""
    shapes = shapes_of(part)
    theirs = part.dialect == "diffusers"
    down = "encoder.down_blocks" if theirs else "encoder.down"
    blocks = "resnets" if theirs else "block"
    channels, colours = shape_of(shapes, "encoder.conv_in.weight", 4)[:2]
    widths = [
        shape_of(shapes, f"{down}.{level}.{blocks}.0.conv1.weight", 4)[0]
        for level in range(count_blocks(shapes, down))
    ]
    known = (v.autoencoder for v in VARIANTS if v.autoencoder.channels == channels)
    groups = next((config.norm_groups for config in known), None)
    if groups is None or not widths or any(width % channels for width in widths):
        raise WeightsError(f"an autoencoder of {channels} channels is not known")
    return AutoencoderConfig(
        in_channels=colours,
        channels=channels,
        channel_mult=tuple(width // channels for width in widths),
        res_blocks=count_blocks(shapes, f"{down}.0.{blocks}"),
        latent_channels=shape_of(shapes, "decoder.conv_in.weight", 4)[1],
        norm_groups=groups,
    )


def autoencoder_table(config: AutoencoderConfig) -> list[Line]:
    """Every tensor of an autoencoder of this shape: 244 lines for FLUX.1's."""
    return list(_autoencoder_lines(config))


def _autoencoder_lines(config: AutoencoderConfig) -> Iterator[Line]:
    levels = len(config.channel_mult)
    widths = [config.channels * m for m in config.channel_mult]

    for half in ("encoder", "decoder"):
        yield from linear(f"{half}.conv_in", f"{half}.conv_in")
        yield from linear(f"{half}.conv_out", f"{half}.conv_out")
        yield from linear(f"{half}.norm_out", f"{half}.conv_norm_out")
        for i in (0, 1):
            block = f"{half}.mid.block_{i + 1}"
            yield from _resnet(block, f"{half}.mid_block.resnets.{i}", shortcut=False)
        ours, theirs = f"{half}.mid.attn_1", f"{half}.mid_block.attentions.0"
        yield from linear(f"{ours}.norm", f"{theirs}.group_norm")
        for conv, name in ATTENTION:
            yield Line(f"{ours}.{conv}.weight", (f"{theirs}.{name}.weight",), "kernel")
            yield Line(f"{ours}.{conv}.bias", (f"{theirs}.{name}.bias",))

    for level, width in enumerate(widths):
        ours, theirs = f"encoder.down.{level}", f"encoder.down_blocks.{level}"
        before = widths[level - 1] if level else config.channels
        for j in range(config.res_blocks):
            shortcut = j == 0 and before != width
            yield from _resnet(f"{ours}.block.{j}", f"{theirs}.resnets.{j}", shortcut)
        if level < levels - 1:
            yield from linear(f"{ours}.downsample.conv", f"{theirs}.downsamplers.0.conv")

        ours, theirs = f"decoder.up.{level}", f"decoder.up_blocks.{levels - 1 - level}"
        before = widths[min(level + 1, levels - 1)]
        for j in range(config.res_blocks + 1):
            shortcut = j == 0 and before != width
            yield from _resnet(f"{ours}.block.{j}", f"{theirs}.resnets.{j}", shortcut)
        if level > 0:
            yield from linear(f"{ours}.upsample.conv", f"{theirs}.upsamplers.0.conv")


def _resnet(ours: str, theirs: str, shortcut: bool) -> Iterator[Line]:
    for part in ("norm1", "conv1", "norm2", "conv2"):
        yield from linear(f"{ours}.{part}", f"{theirs}.{part}")
    if shortcut:
        yield from linear(f"{ours}.nin_shortcut", f"{theirs}.conv_shortcut")


NAMING = Naming(autoencoder_table)


def _spelled(state: State, layout: str, config: AutoencoderConfig) -> State:
    return NAMING.diffusers(state, config) if layout == "diffusers" else state


def _describe(part: Part, called: str) -> Described:
    config = autoencoder_shape(part)
    usual = config == AutoencoderConfig()
    what = "FLUX.1's" if usual else f"{config.channels} channels, {config.latent_channels} latent"
    wanted = NAMING.wanted(part.dialect, config)
    return Described(what, "Apache-2.0" if usual else "", wanted, lambda name: name)


AUTOENCODER = NetworkKind(
    id="autoencoder",
    title="an autoencoder",
    build=Autoencoder,
    signatures={
        "bfl": "decoder.mid.attn_1.q.",
        "diffusers": "decoder.mid_block.attentions.0.to_q.",
    },
    ours=NAMING.ours,
    describe=_describe,
    description=Description(
        autoencoder_config,
        diffusers_autoencoder_config,
        autoencoder_shape,
        ("norm_groups", "scale_factor", "shift_factor"),
    ),
    places=Places(
        folder="vae",
        stem="diffusion_pytorch_model",
        stems=("ae", "flux_ae*", "flux*vae*"),
        usual="ae.safetensors",
    ),
    spelled=_spelled,
    prefix="vae.",
)
