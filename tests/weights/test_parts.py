"""What a file holds, told by its tensors: families have names, FLUX.1's parts have prefixes."""

import pytest
import torch

from flux1.errors import WeightsError
from flux1.weights.checkpoint import Checkpoint, foreign, split
from flux1.weights.files.lazy import StoredTensors, in_memory
from flux1.weights.files.safetensors import write_tensors


def named(*names, **metadata):
    return StoredTensors({name: in_memory(torch.zeros(1)) for name in names}, metadata)


TRANSFORMER = "double_blocks.0.img_attn.qkv.weight"


@pytest.mark.parametrize(
    "prefix",
    ["", "model.diffusion_model.", "diffusion_model.", "transformer.", "model.", "any.one."],
)
def test_prefixes(prefix):
    (part,), rest = split(named(f"{prefix}{TRANSFORMER}", f"{prefix}img_in.weight", "extra"))
    assert (part.kind, part.dialect, part.prefix) == ("transformer", "bfl", prefix)
    assert set(part.tensors) >= {TRANSFORMER, "img_in.weight"}
    assert rest == ([] if prefix == "" else ["extra"])


@pytest.mark.parametrize(
    ("name", "kind", "dialect"),
    [
        ("transformer_blocks.0.attn.add_q_proj.weight", "transformer", "diffusers"),
        ("decoder.mid.attn_1.q.weight", "autoencoder", "bfl"),
        ("decoder.mid_block.attentions.0.to_q.weight", "autoencoder", "diffusers"),
        ("text_model.encoder.layers.0.self_attn.q_proj.weight", "clip", "transformers"),
        ("encoder.layers.0.self_attn.q_proj.weight", "clip", "transformers"),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", "t5", "transformers"),
        ("enc.blk.0.attn_q.weight", "t5", "llama.cpp"),
        ("bert.encoder.layer.0.attention.self.query.weight", "bert", "transformers"),
    ],
)
def test_kinds(name, kind, dialect):
    (part,), _ = split(named(name))
    assert (part.kind, part.dialect, part.prefix) == (kind, dialect, "")
    assert list(part.tensors) == [name]


def test_other_towers_of_clip_are_not_ours():
    layer = "encoder.layers.0.self_attn.q_proj.weight"
    assert split(named(f"vision_model.{layer}"))[0] == []
    (part,), rest = split(
        named(
            f"text_encoders.clip_g.transformer.text_model.{layer}",
            f"text_encoders.clip_l.transformer.text_model.{layer}",
            "text_encoders.clip_l.logit_scale",
        )
    )
    assert part.prefix == "text_encoders.clip_l.transformer."
    assert rest == [f"text_encoders.clip_g.transformer.text_model.{layer}"]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion 1, 2 or XL"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
        ("double_stream_modulation_img.lin.weight", "FLUX.2"),
        ("distilled_guidance_layer.in_proj.weight", "Chroma"),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "a LoRA"),
        ("controlnet_x_embedder.weight", "a FLUX.1 ControlNet"),
        ("redux_up.weight", "the FLUX.1 Redux adapter"),
        ("model.layers.0.self_attn.q_proj.weight", "a language model"),
    ],
)
def test_other_models_are_named(name, what, tmp_path):
    assert foreign(named(name, TRANSFORMER)) == what
    write_tensors(tmp_path / "x.safetensors", {name: torch.zeros(1), TRANSFORMER: torch.zeros(1)})
    with pytest.raises(WeightsError, match=f"holds {what}, not a transformer of FLUX.1's"):
        Checkpoint(tmp_path / "x.safetensors").part("transformer")


def test_a_gguf_of_a_language_model():
    state = named("token_embd.weight", "blk.0.attn_q.weight")
    state.metadata["general.architecture"] = "llama"
    assert foreign(state) == "a language model ('llama')"
    state = named(TRANSFORMER)
    state.metadata["general.architecture"] = "wan"
    assert foreign(state) == "a 'wan' model"
    for ours in ("flux", "pig"):
        state.metadata["general.architecture"] = ours
        assert foreign(state) is None
    t5 = named("token_embd.weight", "enc.blk.0.attn_q.weight")
    t5.metadata["general.architecture"] = "t5encoder"
    assert foreign(t5) is None
