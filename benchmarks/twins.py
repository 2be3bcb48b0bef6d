"""The same weights on both sides: networks of ours, drawn at random, as diffusers' classes."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import nn

from flux1.model.autoencoder import Autoencoder
from flux1.model.config import TransformerConfig
from flux1.model.transformer import Transformer
from flux1.weights.kinds.autoencoder import AUTOENCODER
from flux1.weights.kinds.transformer import TRANSFORMER


def random_transformer(config: TransformerConfig, seed: int) -> Transformer:
    """Random weights, and norm scales that are not all one."""
    torch.manual_seed(seed)
    network = Transformer(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("norm.scale"):
                weight.add_(0.1 * torch.randn_like(weight))
    return network


def diffusers_transformer(network: Transformer) -> FluxTransformer2DModel:
    """Diffusers' transformer; it shares the memory of ours wherever the layouts agree."""
    config = network.config
    with torch.device("meta"):
        theirs = FluxTransformer2DModel(
            in_channels=config.in_channels,
            num_layers=config.depth,
            num_single_layers=config.depth_single_blocks,
            attention_head_dim=config.head_dim,
            num_attention_heads=config.num_heads,
            joint_attention_dim=config.context_in_dim,
            pooled_projection_dim=config.vec_in_dim,
            guidance_embeds=config.guidance_embed,
            axes_dims_rope=config.axes_dim,
        )
    state = TRANSFORMER.spelled(network.state_dict(), "diffusers", config)
    theirs.load_state_dict({name: state[name] for name in state}, assign=True)
    return theirs.eval()


def diffusers_autoencoder(network: Autoencoder) -> AutoencoderKL:
    config = network.config
    levels = len(config.channel_mult)
    theirs = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(config.channels * m for m in config.channel_mult),
        layers_per_block=config.res_blocks,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        scaling_factor=config.scale_factor,
        shift_factor=config.shift_factor,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    state = AUTOENCODER.spelled(network.state_dict(), "diffusers", config)
    theirs.load_state_dict({name: state[name] for name in state})
    return theirs.eval()


def diffusers_pipeline(transformer: nn.Module, autoencoder: nn.Module) -> Callable[..., Any]:
    """Diffusers' pipeline without text encoders, silent, with FLUX.1 [dev]'s scheduler."""
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
        ),
        vae=autoencoder,
        transformer=transformer,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
