"""What a config.json, as diffusers and transformers write it, says of its network's shape."""

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from flux1.errors import WeightsError
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config, TransformerConfig
from flux1.weights.files.safetensors import read_json

Config = TypeVar("Config")
LARGEST_NUMBER = 10**6  # of a layer
DEEPEST = 1000  # layers: a network is built of them before its file is looked at
DEPTHS = ("depth", "depth_single_blocks", "num_layers", "res_blocks")


def read_config(folder: Path, read: Callable[[dict[str, Any]], Config]) -> Config:
    """What `read` makes of a folder's config.json. WeightsError, naming the file."""
    file = folder / "config.json"
    try:
        found = read(read_json(file))
        _check_numbers(found)
        return found
    except WeightsError as failure:
        if str(file) in str(failure):
            raise
        raise WeightsError(f"{file}: {failure}") from failure
    except (TypeError, ValueError, ArithmeticError) as failure:
        raise WeightsError(f"{file}: does not describe a network: {failure}") from failure


def transformer_config(config: dict[str, Any]) -> TransformerConfig:
    """A FluxTransformer2DModel's config.json (absent keys have FLUX.1's values).

    WeightsError if it is of another network.
    """
    _demand(config, {"_class_name": "FluxTransformer2DModel", "patch_size": 1})
    heads = config.get("num_attention_heads", 24)
    in_channels = config.get("in_channels", 64)
    return TransformerConfig(
        in_channels=in_channels,
        out_channels=config.get("out_channels") or in_channels,
        vec_in_dim=config.get("pooled_projection_dim", 768),
        context_in_dim=config.get("joint_attention_dim", 4096),
        hidden_size=heads * config.get("attention_head_dim", 128),
        num_heads=heads,
        depth=config.get("num_layers", 19),
        depth_single_blocks=config.get("num_single_layers", 38),
        axes_dim=tuple(config.get("axes_dims_rope", (16, 56, 56))),
        guidance_embed=bool(config.get("guidance_embeds", False)),
    )


def autoencoder_config(config: dict[str, Any]) -> AutoencoderConfig:
    """An AutoencoderKL's config.json. WeightsError if it is not built as FLUX.1's is."""
    _demand(
        config,
        {
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "mid_block_add_attention": True,
        },
    )
    widths = config.get("block_out_channels")
    if not isinstance(widths, list) or not widths or any(w % widths[0] for w in widths):
        raise WeightsError(f"block_out_channels {widths} are not multiples of the first")
    return AutoencoderConfig(
        in_channels=config.get("in_channels", 3),
        channels=widths[0],
        channel_mult=tuple(width // widths[0] for width in widths),
        res_blocks=config.get("layers_per_block", 1),
        latent_channels=config.get("latent_channels", 4),
        norm_groups=config.get("norm_num_groups", 32),
        scale_factor=config.get("scaling_factor", 0.18215),
        shift_factor=config.get("shift_factor") or 0.0,
    )


def clip_config(config: dict[str, Any]) -> ClipConfig:
    """A CLIPTextModel's config.json. WeightsError if it is not of CLIP-L's kind."""
    _demand(config, {"model_type": "clip_text_model", "hidden_act": "quick_gelu"})
    return ClipConfig(
        vocab_size=config.get("vocab_size", 49_408),
        hidden_size=config.get("hidden_size", 512),
        intermediate_size=config.get("intermediate_size", 2048),
        num_layers=config.get("num_hidden_layers", 12),
        num_heads=config.get("num_attention_heads", 8),
        max_length=config.get("max_position_embeddings", 77),
    )


def t5_config(config: dict[str, Any]) -> T5Config:
    """A T5EncoderModel's config.json. WeightsError if it is not of T5 v1.1's kind."""
    _demand(
        config,
        {
            "model_type": "t5",
            "feed_forward_proj": "gated-gelu",
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
        },
    )
    return T5Config(
        vocab_size=config.get("vocab_size", 32_128),
        hidden_size=config.get("d_model", 512),
        head_dim=config.get("d_kv", 64),
        intermediate_size=config.get("d_ff", 2048),
        num_layers=config.get("num_layers", 6),
        num_heads=config.get("num_heads", 8),
    )


def _check_numbers(config: Any) -> None:
    """WeightsError for a number that no network of this kind has."""
    for field in fields(config):
        value = getattr(config, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if field.type is float:
                fits = isinstance(number, (int, float)) and math.isfinite(number)
            else:
                most = DEEPEST if field.name in DEPTHS else LARGEST_NUMBER
                fits = isinstance(number, int) and 0 <= number <= most
            if not fits:
                raise WeightsError(f"{field.name} cannot be {number!r}")


def _demand(config: dict[str, Any], values: dict[str, Any]) -> None:
    """WeightsError if a key is there with another value than the only one that is supported."""
    for key, value in values.items():
        if config.get(key, value) != value:
            raise WeightsError(f"{key} is {config[key]!r}, only {value!r} is supported")
