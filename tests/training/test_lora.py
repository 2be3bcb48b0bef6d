"""A trained LoRA as a file: the same network here, in diffusers and merged, in every layout."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from flux1.errors import DataError, OutputError
from flux1.model.lora import Lora, active_adapters
from flux1.training.finetune.base_networks import layers_of
from flux1.training.finetune.stored import let_gradients_through
from flux1.training.lora import LoraNetwork
from flux1.training.transformer import predict
from flux1.variants import TINY
from flux1.weights.load import random_transformer
from flux1.weights.lora.read import merge_lora, read_lora
from flux1.weights.lora.save import LAYOUTS, save_lora
from flux1.weights.numbers.quantize import quantize_layers
from flux1.weights.save import save_diffusers
from training.batches import random_batch

CONFIG = TINY.transformer
T = torch.tensor([0.3, 0.8])
TOLD = torch.tensor([3.5, 1.0])
RANK, ALPHA = 4, 10.0  # their quotient is not 1


def trained(network, which="all"):
    """Branches that do something."""
    torch.manual_seed(0)
    lora = LoraNetwork(network, layers_of(network, which), RANK, ALPHA)
    generator = torch.Generator().manual_seed(2)
    for branch in lora.branches.values():
        branch.up.data.normal_(generator=generator).mul_(0.1)
    return lora


def saved(lora, file, layout, config=CONFIG):
    save_lora(file, lora.factors(), lora.alpha, config, layout, {"steps": 7, "alpha": ALPHA})
    return file


@torch.no_grad()
def answer(network, batch):
    told = TOLD if network.config.guidance_embed else None
    return predict(network, batch.tokens, T, batch, told)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", ["attention", "blocks", "all"])
def test_the_file_is_the_network_that_was_trained(tmp_path, layout, which):
    batch, plain = random_batch(CONFIG), random_transformer(CONFIG, 1)
    lora = trained(random_transformer(CONFIG, 1), which)
    wanted = answer(lora.network, batch)
    assert not torch.allclose(wanted, answer(plain, batch), atol=1e-2)

    read = read_lora(saved(lora, tmp_path / "lora.safetensors", layout), CONFIG)
    assert not read.unused
    assert len(read.deltas) == len(lora.branches)
    beside = Lora(plain, read.deltas, torch.device("cpu"), torch.float32)
    with active_adapters([[(beside, 1.0)]] * 2):
        torch.testing.assert_close(answer(plain, batch), wanted, rtol=0, atol=1e-5)
    beside.detach()
    state = merge_lora(plain.state_dict(), read)
    plain.load_state_dict({name: state[name] for name in state})
    torch.testing.assert_close(answer(plain, batch), wanted, rtol=0, atol=1e-4)


def test_beside_a_quantised_base_it_is_the_same_change(tmp_path):
    batch, base = random_batch(CONFIG), random_transformer(CONFIG, 1)
    quantize_layers(base, "int8")
    plain = answer(base, batch)
    let_gradients_through(base)
    lora = trained(base, "blocks")
    wanted = answer(base, batch)
    file = saved(lora, tmp_path / "lora.safetensors", "diffusers")
    fresh = random_transformer(CONFIG, 1)
    quantize_layers(fresh, "int8")
    read = read_lora(file, CONFIG)
    beside = Lora(fresh, read.deltas, torch.device("cpu"), torch.float32)
    with active_adapters([[(beside, 1.0)]] * 2):
        torch.testing.assert_close(answer(fresh, batch), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(answer(fresh, batch), plain, rtol=0, atol=0)


@pytest.mark.parametrize("how", ["adapter", "pipeline", "fused"])
def test_diffusers_reads_the_file_and_answers_the_same(tmp_path, how):
    from diffusers import FluxPipeline, FluxTransformer2DModel

    batch = random_batch(CONFIG)
    lora = trained(random_transformer(CONFIG, 1))
    file = saved(lora, tmp_path / "lora.safetensors", "diffusers")
    save_diffusers(random_transformer(CONFIG, 1), tmp_path / "transformer")
    theirs = FluxTransformer2DModel.from_pretrained(tmp_path / "transformer").eval()

    def drawn():
        with torch.no_grad():
            return theirs(
                hidden_states=batch.tokens, encoder_hidden_states=batch.txt,
                pooled_projections=batch.pooled, timestep=T, guidance=TOLD,
                img_ids=torch.tensor([[0, r, c] for r in range(2) for c in range(3)]).float(),
                txt_ids=torch.zeros(5, 3),
            ).sample  # fmt: skip

    before = drawn()
    torch.testing.assert_close(before, answer(random_transformer(CONFIG, 1), batch), **NEAR)
    if how == "adapter":
        theirs.load_lora_adapter(str(file), prefix="transformer")
    else:
        pipeline = FluxPipeline(
            scheduler=None, vae=None, text_encoder=None, tokenizer=None, text_encoder_2=None,
            tokenizer_2=None, transformer=theirs,
        )  # fmt: skip
        pipeline.load_lora_weights(str(file))
        if how == "fused":
            pipeline.fuse_lora()
    torch.testing.assert_close(drawn(), answer(lora.network, batch), **NEAR)
    assert not torch.allclose(before, drawn(), atol=1e-2)


NEAR = {"rtol": 0, "atol": 1e-4}


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        ("diffusers", "transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight"),
        ("diffusers", "transformer.transformer_blocks.0.attn.add_k_proj.lora_B.weight"),
        ("comfyui", "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight"),
        ("kohya", "lora_unet_single_blocks_0_linear1.lora_down.weight"),
    ],
)
def test_a_layout_has_its_programs_keys_and_the_settings_are_kept(tmp_path, layout, key):
    lora = trained(random_transformer(CONFIG, 1))
    with safe_open(saved(lora, tmp_path / "l.safetensors", layout), "pt") as file:
        keys, metadata = set(file.keys()), file.metadata()
        assert key in keys
        alphas = [file.get_tensor(k).item() for k in keys if k.endswith(".alpha")]
    assert json.loads(metadata["flux1"]) == {"steps": 7, "alpha": ALPHA}
    assert alphas == ([] if layout == "diffusers" else [ALPHA] * len(lora.branches))


@pytest.mark.parametrize(
    ("layout", "left"), [("diffusers", 4.0), ("comfyui", 10.0), ("kohya", 10.0)]
)
def test_the_metadata_says_what_tools_show_and_what_the_tensors_are(tmp_path, layout, left):
    settings = {
        "model": "flux-dev", "model_hash": "abc", "resolutions": [512, 1024], "seed": 3,
        "learning_rate": 1e-4, "steps": 9, "step": 7, "precision": "bfloat16",
    }  # fmt: skip
    factors = trained(random_transformer(CONFIG, 1)).factors()
    file = tmp_path / "lora.safetensors"
    save_lora(file, factors, ALPHA, CONFIG, layout, settings)
    with safe_open(file, "pt") as opened:
        told = opened.metadata()
    assert json.loads(told.pop("flux1")) == settings
    assert told == {
        "modelspec.sai_model_spec": "1.0.0", "modelspec.title": "LoRA of rank 4 for flux-dev",
        "modelspec.implementation": "https://github.com/black-forest-labs/flux",
        "modelspec.architecture": "flux-1-dev/lora", "modelspec.resolution": "1024x1024",
        "ss_network_module": "networks.lora_flux", "ss_network_dim": "4",
        "ss_network_alpha": str(left), "ss_base_model_version": "flux1",
        "ss_resolution": "1024x1024", "ss_steps": "7", "ss_max_train_steps": "9",
        "ss_learning_rate": "0.0001", "ss_mixed_precision": "bfloat16", "ss_seed": "3",
        "ss_sd_model_name": "flux-dev", "ss_sd_model_hash": "abc",
    }  # fmt: skip
    assert read_lora(file, CONFIG).deltas


def test_the_same_lora_is_the_same_bytes(tmp_path):
    lora = trained(random_transformer(CONFIG, 1))
    files = [saved(lora, tmp_path / f"{i}.safetensors", "diffusers") for i in range(5)]
    assert len({file.read_bytes() for file in files}) == 1


def test_a_format_that_nobody_reads_is_refused(tmp_path):
    lora = trained(random_transformer(CONFIG, 1))
    with pytest.raises(OutputError, match=r"'khoya' is not one of .*did you mean 'kohya'"):
        saved(lora, tmp_path / "l.safetensors", "khoya")


def test_which_layers_are_changed():
    network = random_transformer(CONFIG, 1)
    attention, blocks, every = (
        set(layers_of(network, which)) for which in ("attention", "blocks", "all")
    )
    assert "double_blocks.0.img_attn.qkv" in attention
    assert "double_blocks.0.txt_mlp.2" in blocks - attention
    assert "double_blocks.0.img_mod.lin" in every - blocks
    assert {"img_in", "final_layer.linear"} <= every - blocks
    assert attention < blocks < every


def test_a_network_without_guidance_is_trained_too(tmp_path):
    config = replace(CONFIG, guidance_embed=False)
    batch, lora = random_batch(config), trained(random_transformer(config, 1))
    file = saved(lora, tmp_path / "l.safetensors", "comfyui", config)
    plain = random_transformer(config, 1)
    state = merge_lora(plain.state_dict(), read_lora(file, config))
    plain.load_state_dict({name: state[name] for name in state})
    torch.testing.assert_close(answer(plain, batch), answer(lora.network, batch), **NEAR)


def test_a_rank_above_a_layers_width_is_one_line_with_the_nearest():
    from flux1.training.finetune.base_networks import BaseNetworks
    from flux1.training.finetune.choose import choose_settings
    from flux1.weights.sources import locate

    network = random_transformer(CONFIG, 1)
    settings = choose_settings(TINY, torch.float32, rank=200)
    parts = BaseNetworks(locate("tiny"), settings, torch.device("cpu"))
    with pytest.raises(DataError, match=r"^rank: 200 is above the width of .*; nearest: 64$"):
        parts.lora(network)
