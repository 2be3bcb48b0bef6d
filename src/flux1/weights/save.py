"""Networks to files: BFL's single file, diffusers' folder, the folder in which flux-mini ships."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flux1.errors import OutputError
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config, TransformerConfig
from flux1.model.stored import StoredEmbedding, StoredLinear
from flux1.model.text import HIGHEST_ID
from flux1.model.transformer import Transformer
from flux1.variants import Variant
from flux1.weights import model_files
from flux1.weights.files.safetensors import write_json, write_sharded, write_tensors
from flux1.weights.load import SentenceTextParts
from flux1.weights.numbers.int8 import METADATA, quantize_rows
from flux1.weights.recognise import names

MAX_SHARD_SIZE = 10_000_000_000  # bytes; diffusers' own default


def save_bfl(model: nn.Module, file: Path, quantize: bool = False) -> None:
    """One safetensors file in BFL's names, in the network's dtype or, if asked, in int8 rows.

    OutputError if the place cannot be written.
    """
    state = _state(model)
    if quantize:
        write_tensors(file, quantize_rows(state), METADATA)
    else:
        write_tensors(file, state)


def save_diffusers(
    model: Transformer | Autoencoder, folder: Path, max_shard_size: int = MAX_SHARD_SIZE
) -> None:
    """Weights and config.json as diffusers reads them; shards past `max_shard_size` bytes.

    OutputError if the place cannot be written.
    """
    state: Mapping[str, Tensor]
    if isinstance(model, Transformer):
        state = names.transformer_to_diffusers(_state(model), model.config)
        config = diffusers_transformer_config(model.config)
    else:
        state = names.autoencoder_to_diffusers(_state(model), model.config)
        config = diffusers_autoencoder_config(model.config)
    write_sharded(folder, "diffusion_pytorch_model", state, max_shard_size)
    write_json(folder / "config.json", config)


def save_model_folder(
    folder: Path,
    variant: Variant,
    transformer: Transformer,
    autoencoder: Autoencoder,
    text: SentenceTextParts,
    quantize: bool = True,
) -> None:
    """The folder in which flux-mini ships; model.json, which vouches for the rest, is last.

    OutputError if the place cannot be written.
    """
    networks = (transformer, autoencoder, text.bert)
    for network, name in zip(networks, model_files.MODEL_FILES[:3], strict=True):
        save_bfl(network, folder / name, quantize)
    try:
        text.tokenizer.save(str(folder / model_files.MODEL_FILES[3]), pretty=False)
    except Exception as failure:  # the library raises bare Exception
        raise OutputError(f"{folder}: cannot be written: {failure}") from failure
    write_json(
        folder / model_files.MODEL_JSON,
        {
            "variant": variant.id,
            "latents": {
                "shift": autoencoder.config.shift_factor,
                "scale": autoencoder.config.scale_factor,
            },
            "sha256": {name: model_files.sha256(folder / name) for name in model_files.MODEL_FILES},
        },
    )


def save_few_steps(
    folder: Path, variant: Variant, base: Path, lora: Mapping[str, Tensor], guidance: float
) -> None:
    """A LoRA (its tensors as PEFT names them) for the model in the folder `base` beside this one,
    and a model.json that makes the two `variant`, a model of few steps without guidance.

    OutputError if the place cannot be written.
    """
    kept = {name: tensor.bfloat16() for name, tensor in lora.items()}
    file = folder / model_files.LORA_FILE
    write_tensors(file, kept, {"format": "pt"})
    files = model_files.files_of(base, model_files.FewSteps(file, guidance))
    write_json(
        folder / model_files.MODEL_JSON,
        {
            "variant": variant.id,
            "base": base.name,
            "guidance": guidance,
            "sha256": {
                name: model_files.sha256(path)
                for name, path in model_files.vouched_for(files, folder).items()
            },
        },
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


def transformers_clip_config(config: ClipConfig) -> dict[str, Any]:
    """The keys of CLIPTextModel's config.json."""
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "hidden_act": config.activation,
        "layer_norm_eps": config.norm_eps,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "max_position_embeddings": config.max_length,
        "projection_dim": config.hidden_size,
        "bos_token_id": 0,
        "eos_token_id": HIGHEST_ID if config.end_token is None else config.end_token,
        "pad_token_id": 1,
    }


def transformers_t5_config(config: T5Config) -> dict[str, Any]:
    """The keys of T5EncoderModel's config.json."""
    return {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "feed_forward_proj": _forward(config),
        "dense_act_fn": config.activation,
        "is_gated_act": config.gated,
        "layer_norm_epsilon": config.norm_eps,
        "is_encoder_decoder": False,
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "d_kv": config.head_dim,
        "d_ff": config.intermediate_size,
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.farthest,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def _forward(config: T5Config) -> str:
    """T5's word for its MLP: "gated-gelu" is the gated MLP with the approximate GELU."""
    if not config.gated:
        return config.activation
    return "gated-gelu" if config.activation == "gelu_new" else f"gated-{config.activation}"


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The learned tensors, a tied one under its first name only. OutputError if some are kept in
    another form: they are no parameters, and would be missing."""
    stored = [n for n, m in model.named_modules() if isinstance(m, StoredLinear | StoredEmbedding)]
    if stored:
        raise OutputError(
            f"{stored[0]}: its weights are packed or in a file: load the model with "
            "keep='plain' to write it"
        )
    return {name: parameter.detach() for name, parameter in model.named_parameters()}
