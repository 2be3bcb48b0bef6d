"""What the config files of diffusers and transformers say of a network, and of a model's schedule.

Absent keys have the library's own defaults. Each reader raises WeightsError, naming key and value,
for what is not supported.
"""

import math
from collections.abc import Mapping
from typing import Any

from flux1.errors import WeightsError
from flux1.flow.shift import Schedule, Spacing
from flux1.model.config import (
    ACTIVATIONS,
    AutoencoderConfig,
    ClipConfig,
    T5Config,
    TransformerConfig,
)
from flux1.model.text import HIGHEST_ID
from flux1.weights.kinds.keys import Keys, Only

Told = Mapping[str, Any]

TRANSFORMER = Keys(  # FluxTransformer2DModel's
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
AUTOENCODER = Keys(  # AutoencoderKL's
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
BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
TRAINING_ONLY = frozenset({"dropout_rate", "attention_dropout", "classifier_dropout"})
CLIP = Keys(  # CLIPTextModel's
    used={
        "vocab_size": 49_408, "hidden_size": 512, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77,
        "eos_token_id": 49_407, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu",
    },
    only={
        "model_type": Only("clip_text_model", ("clip_text_model",)),
        "hidden_act": Only("quick_gelu", ACTIVATIONS),
    },
    idle=TRAINING_ONLY | {
        "pad_token_id", "bos_token_id", "projection_dim", "initializer_range", "initializer_factor",
    },
)  # fmt: skip
GATED = "gated-"
T5_FORWARD = (*(GATED + name for name in ACTIVATIONS), *ACTIVATIONS)
T5_ALIASES = {  # other names that the library takes, and lets go before the usual ones
    "hidden_size": "d_model", "num_attention_heads": "num_heads", "num_hidden_layers": "num_layers",
    "head_dim": "d_kv",
}  # fmt: skip
T5 = Keys(  # T5EncoderModel's
    used={
        "vocab_size": 32_128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6,
        "num_heads": 8, "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu", "dense_act_fn": None, "is_gated_act": None,
    },
    only={
        "model_type": Only("t5", ("t5",)),
        "feed_forward_proj": Only("relu", T5_FORWARD),
        "dense_act_fn": Only(None, (*ACTIVATIONS, None)),
        "is_gated_act": Only(None, (True, False, None)),
        "is_decoder": Only(False, (False,)),
    },
    idle=TRAINING_ONLY | {
        "num_decoder_layers", "initializer_factor", "use_cache", "pad_token_id", "eos_token_id",
        "is_encoder_decoder", "tie_word_embeddings", "scale_decoder_outputs",
    },
)  # fmt: skip
EULER = "FlowMatchEulerDiscreteScheduler"
SCHEDULER = Keys(  # FlowMatchEulerDiscreteScheduler's
    used={
        "shift": 1.0, "use_dynamic_shifting": False, "base_shift": 0.5, "max_shift": 1.15,
        "base_image_seq_len": 256, "max_image_seq_len": 4096, "use_karras_sigmas": False,
        "use_exponential_sigmas": False, "time_shift_type": "exponential",
    },
    only={
        "_class_name": Only(EULER, (EULER,)),
        "num_train_timesteps": Only(1000, (1000,)),
        "time_shift_type": Only("exponential", ("exponential", "linear")),
        "invert_sigmas": Only(False, (False,)),
        "shift_terminal": Only(None, (None,)),
        "use_beta_sigmas": Only(False, (False,)),
        "stochastic_sampling": Only(False, (False,)),
        # No parameters of the scheduler, but read from its file all the same.
        "sigma_min": Only(None, (None,)),
        "sigma_max": Only(None, (None,)),
        "use_flow_sigmas": Only(False, (False, None)),
    },
)  # fmt: skip


def transformer_config(told: Told) -> TransformerConfig:
    """A FluxTransformer2DModel's config.json."""
    found = TRANSFORMER.read(told)
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


def autoencoder_config(told: Told) -> AutoencoderConfig:
    """An AutoencoderKL's config.json."""
    found = AUTOENCODER.read(told)
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


def clip_config(told: Told) -> ClipConfig:
    """A CLIPTextModel's config.json. An end token of 2 means the highest id of a text, as the
    library has it for the sake of old files, FLUX.1's own among them."""
    found = CLIP.read(told)
    end = found["eos_token_id"]
    return ClipConfig(
        vocab_size=found["vocab_size"],
        hidden_size=found["hidden_size"],
        intermediate_size=found["intermediate_size"],
        num_layers=found["num_hidden_layers"],
        num_heads=found["num_attention_heads"],
        max_length=found["max_position_embeddings"],
        end_token=None if end == HIGHEST_ID else end,
        activation=found["hidden_act"],
        norm_eps=found["layer_norm_eps"],
    )


def t5_config(told: Told) -> T5Config:
    """A T5EncoderModel's config.json. Its own keys for the activation and the gate, where they are
    there, go before what feed_forward_proj says of them."""
    found = T5.read({T5_ALIASES.get(key, key): value for key, value in told.items()})
    buckets, farthest, forward = (
        found[key]
        for key in (
            "relative_attention_num_buckets", "relative_attention_max_distance",
            "feed_forward_proj",
        )
    )  # fmt: skip
    if buckets < 4 or farthest <= buckets // 4:
        raise WeightsError(
            f"relative_attention_num_buckets {buckets} do not go with a "
            f"relative_attention_max_distance of {farthest}"
        )
    activation: Any = "gelu_new" if forward == "gated-gelu" else forward.removeprefix(GATED)
    gated = forward.startswith(GATED)
    return T5Config(
        vocab_size=found["vocab_size"],
        hidden_size=found["d_model"],
        head_dim=found["d_kv"],
        intermediate_size=found["d_ff"],
        num_layers=found["num_layers"],
        num_heads=found["num_heads"],
        gated=gated if found["is_gated_act"] is None else found["is_gated_act"],
        activation=found["dense_act_fn"] or activation,
        norm_eps=found["layer_norm_epsilon"],
        buckets=buckets,
        farthest=farthest,
    )


def scheduler_config(told: Told) -> tuple[bool, Schedule]:
    """A FlowMatchEulerDiscreteScheduler's scheduler_config.json: whether times are shifted, and how
    they are spread. A static shift is one whose strength does not depend on the tokens."""
    found = SCHEDULER.read(told)
    few, many = found["base_image_seq_len"], found["max_image_seq_len"]
    linear = found["time_shift_type"] == "linear"
    if found["use_dynamic_shifting"]:
        low, high = found["base_shift"], found["max_shift"]
    else:
        _positive("shift", found["shift"])
        low = high = found["shift"] if linear else math.log(found["shift"])
    for key in ("base_shift", "max_shift") if linear else ():
        _positive(key, found[key])
    if few == many:
        raise WeightsError(f"base_image_seq_len and max_image_seq_len are both {few}")
    spacings: list[Spacing] = [
        spacing for spacing in ("karras", "exponential") if found[f"use_{spacing}_sigmas"]
    ]
    if len(spacings) > 1:
        raise WeightsError("use_karras_sigmas and use_exponential_sigmas are both True; keep one")
    schedule = Schedule((few, float(low)), (many, float(high)), linear, (*spacings, "even")[0])
    return found["use_dynamic_shifting"] or found["shift"] != 1, schedule


def _positive(key: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise WeightsError(f"{key} is {value!r}, it must be above 0")
