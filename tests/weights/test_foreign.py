"""Families by a name that only they have; FLUX.1's own names belong to none."""

import json

import pytest
import torch
from safetensors.torch import save_file

from flux1.errors import WeightsError
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config, TransformerConfig
from flux1.variants import FLUX_MINI
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.kinds.autoencoder import autoencoder_table
from flux1.weights.kinds.clip import clip_table
from flux1.weights.kinds.foreign import FAMILIES, family_of
from flux1.weights.kinds.t5 import t5_table
from flux1.weights.kinds.transformer import transformer_table
from flux1.weights.lora.names import targets
from flux1.weights.lora.read import read_lora

SAMPLES = {  # of the network's file, and of a LoRA
    "FLUX.2": (
        "double_stream_modulation_img.lin.weight",
        "diffusion_model.single_stream_modulation.lin.lora_A.weight",
        "single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight",
        "lora_unet_single_transformer_blocks_0_attn_to_qkv_mlp_proj.lora_down.weight",
    ),
    "Chroma": ("distilled_guidance_layer.in_proj.weight",),
    "Stable Diffusion 3": (
        "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",
        "pos_embed.proj.weight",
        "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight",
    ),
    "Stable Diffusion XL": ("lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha",),
    "Stable Diffusion 1, 2 or XL": (
        "model.diffusion_model.input_blocks.0.0.weight",
        "down_blocks.1.attentions.0.proj_in.weight",
        "lora_unet_input_blocks_4_1_proj_in.lora_up.weight",
        "unet.mid_block.attentions.0.proj_in.lora_A.weight",
        "base_model.model.unet.up_blocks.1.x.lora_A.weight",
    ),
    "a FLUX.1 ControlNet": ("controlnet_x_embedder.weight",),
    "a ControlNet": ("controlnet_blocks.0.weight",),
    "an IP adapter": ("ip_adapter_proj_model.proj.weight",),
    "the FLUX.1 Redux adapter": ("redux_up.weight",),
    "a language model": (
        "model.layers.0.self_attn.q_proj.weight",
        "token_embd.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    ),
    "Qwen-Image": (
        "txt_norm.weight",
        "transformer_blocks.0.img_mod.1.lora_A.weight",
        "lora_unet_transformer_blocks_0_txt_mod_1.lora_down.weight",
        "transformer_blocks.0.img_mlp.net.2.lora_A.weight",
    ),
    "Wan": ("blocks.0.self_attn.q.weight", "lora_unet_blocks_0_cross_attn_k.lora_down.weight"),
}


@pytest.mark.parametrize("title", [title for title, _ in FAMILIES])
def test_each_is_told_by_its_files_and_its_loras(title):
    for name in SAMPLES[title]:
        assert family_of(["img_in.weight", name]) == title


def test_none_of_our_own_names_is_another_family_s():
    config = TransformerConfig()
    ours = [
        name
        for lines in (transformer_table(config), autoencoder_table(AutoencoderConfig()))
        for line in lines
        for name in (line.bfl, *line.diffusers)
    ]
    ours += [*clip_table(ClipConfig()), *t5_table(T5Config())]
    ours += [
        f"{prefix}{layer}.lora_down.weight"
        for layer in targets(config)
        for prefix in ("", "lora_unet_", "lora_transformer_", "transformer.", "diffusion_model.")
    ]
    ours += [
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.alpha",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
    ]
    assert len(ours) > 5000
    assert family_of(ours) is None


@pytest.mark.parametrize(
    ("key", "value", "title"),
    [
        ("modelspec.architecture", "flux-2-dev/lora", "FLUX.2"),
        ("ss_base_model_version", "flux2_klein_4b", "FLUX.2"),
        ("ss_base_model_version", "chroma", "Chroma"),
        ("modelspec.architecture", "hunyuan-video/lora", "HunyuanVideo"),
        ("modelspec.architecture", "flux-1-dev/lora", None),
        ("ss_base_model_version", "flux1", None),
    ],
)
def test_a_lora_with_our_names_may_say_that_it_is_of_another_family(key, value, title, tmp_path):
    """Its layers are called, and as wide, as those of FLUX.1's."""
    config = FLUX_MINI.transformer
    width, file = config.hidden_size, tmp_path / "x.safetensors"
    stem = "double_blocks.0.img_attn.proj"
    down, up = torch.ones(2, width), torch.ones(width, 2)
    save_file({f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}, file, {key: value})
    if title is None:
        assert len(read_lora(file, config).deltas) == 1
        return
    with pytest.raises(WeightsError, match=f"x.safetensors: for {title}, not for FLUX.1"):
        read_lora(file, config)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora_unet_double_blocks_0_img_attn_proj.oft_blocks", "OFT"),
        ("transformer.double_blocks.0.img_attn.proj.oft_R.default.weight", "OFT"),
        ("lycoris_double_blocks_0_img_attn_proj.a1.weight", "GLoRA"),
        ("base_model.model.double_blocks.0.img_attn.proj.ia3_l", "IA3"),
    ],
)
def test_other_adapters_are_named(name, said, tmp_path):
    save_file({name: torch.ones(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=f"holds {said}, which is not read; LoRA, DoRA"):
        read_lora(tmp_path / "x.safetensors", FLUX_MINI.transformer)


def test_a_rank_that_contradicts_the_configuration_is_refused(tmp_path):
    """With rank 64 told and 4 there, alpha would be divided by 4: sixteen times too strong."""
    width, file = FLUX_MINI.transformer.hidden_size, tmp_path / "x.safetensors"
    stem = "transformer.double_blocks.0.img_attn.proj"
    down, up = torch.ones(4, width), torch.ones(width, 4)
    state = {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
    for told, fits in (({"r": 64}, False), ({"r": 4}, True),
                       ({"r": 64, "rank_pattern": {"img_attn.proj": 4}}, True)):  # fmt: skip
        config = {f"transformer.{key}": value for key, value in (told | {"lora_alpha": 8}).items()}
        save_file(state, file, {"lora_adapter_metadata": json.dumps(config)})
        if fits:
            ((delta,),) = read_lora(file, FLUX_MINI.transformer).deltas.values()
            assert delta.change.scale == 2
        else:
            with pytest.raises(WeightsError, match="has rank 4, its configuration says 64"):
                read_lora(file, FLUX_MINI.transformer)


def test_a_whole_model_with_our_names_may_say_that_it_is_of_another_family(tmp_path):
    tensors = {
        name: torch.zeros(1) for name in ("img_in.weight", "double_blocks.0.img_mod.lin.weight")
    }
    save_file(tensors, tmp_path / "a.safetensors", {"modelspec.architecture": "flux-2-dev"})
    with pytest.raises(WeightsError, match=r"a\.safetensors: holds FLUX\.2, not a transformer"):
        Checkpoint(tmp_path / "a.safetensors").raw("transformer")
