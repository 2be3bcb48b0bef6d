"""The table of names on the real key lists, and against diffusers' own."""

import pytest
import torch
from torch import nn

from flux1.errors import WeightsError
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig, TransformerConfig
from flux1.model.transformer import Transformer
from flux1.variants import FLUX_DEV, FLUX_SCHNELL
from flux1.weights.kinds.autoencoder import AUTOENCODER
from flux1.weights.kinds.bert import bert_name
from flux1.weights.kinds.clip import clip_name
from flux1.weights.kinds.lines import renamed
from flux1.weights.kinds.t5 import t5_name
from flux1.weights.kinds.transformer import TRANSFORMER

TINY = TransformerConfig(
    in_channels=8, out_channels=8, vec_in_dim=6, context_in_dim=10, hidden_size=12, num_heads=2,
    depth=1, depth_single_blocks=2, axes_dim=(2, 2, 2),
)  # fmt: skip


def on_meta(build, *args, **kwargs) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        network: nn.Module = build(*args, **kwargs)
    return network.state_dict()


def shapes(state) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("variant", [FLUX_DEV, FLUX_SCHNELL])
def test_the_published_transformers(variant):
    from diffusers import FluxTransformer2DModel

    config = variant.transformer
    ours = on_meta(Transformer, config)
    there = TRANSFORMER.spelled(ours, "diffusers", config)
    expected = on_meta(FluxTransformer2DModel, guidance_embeds=config.guidance_embed)
    assert len(there) == 1160 - 4 * (not config.guidance_embed)
    assert shapes(there) == shapes(expected)
    assert shapes(TRANSFORMER.ours(there, "diffusers", config)) == shapes(ours)


def test_the_published_autoencoder():
    from diffusers import AutoencoderKL

    config = AutoencoderConfig()
    ours = on_meta(Autoencoder, config)
    there = AUTOENCODER.spelled(ours, "diffusers", config)
    expected = on_meta(
        AutoencoderKL,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=16,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    assert shapes(there) == shapes(expected)
    assert shapes(AUTOENCODER.ours(there, "diffusers", config)) == shapes(ours)


@pytest.mark.parametrize(
    ("row", "config"),
    [
        (TRANSFORMER, TINY),
        (
            AUTOENCODER,
            AutoencoderConfig(channels=4, channel_mult=(1, 3, 3), norm_groups=2, latent_channels=2),
        ),
    ],
)
def test_there_and_back_is_the_identity(row, config):
    torch.manual_seed(0)
    state = row.build(config).state_dict()
    again = row.ours(row.spelled(state, "diffusers", config), "diffusers", config)
    assert again.keys() == state.keys()
    for name in state:
        assert torch.equal(again[name], state[name]), name


def test_the_last_modulation_is_swapped():
    weight = torch.arange(24.0)[:, None].expand(24, 12)
    state = Transformer(TINY).state_dict() | {"final_layer.adaLN_modulation.1.weight": weight}
    there = TRANSFORMER.spelled(state, "diffusers", TINY)["norm_out.linear.weight"]
    assert there[:, 0].tolist() == [*range(12, 24), *range(12)]


def test_missing_and_unknown_names_are_listed():
    state = Transformer(TINY).state_dict()
    state["guidance_in.typo.weight"] = state.pop("guidance_in.in_layer.weight")
    with pytest.raises(WeightsError) as caught:
        TRANSFORMER.spelled(state, "diffusers", TINY)
    assert str(caught.value) == (
        f"missing 1 of {len(state)} tensors: guidance_in.in_layer.weight; "
        f"unknown 1 of {len(state)} tensors: guidance_in.typo.weight"
    )


def test_a_long_list_is_cut():
    with pytest.raises(WeightsError, match="and 29 more") as caught:
        TRANSFORMER.ours({}, "diffusers", TransformerConfig(depth=0, depth_single_blocks=1))
    assert "\n" not in str(caught.value)


def test_parts_of_other_sizes_are_refused():
    there = dict(TRANSFORMER.spelled(Transformer(TINY).state_dict(), "diffusers", TINY))
    name = "transformer_blocks.0.attn.to_k.weight"
    for bad in (torch.zeros(11, 12), torch.zeros(12, 11)):
        with pytest.raises(WeightsError, match=name):
            TRANSFORMER.ours(there | {name: bad}, "diffusers", TINY)


def test_text_names_in_either_style():
    t = torch.zeros(1)
    for prefix in ("", "text_model."):
        found = renamed(
            {
                f"{prefix}encoder.layers.0.x": t,
                f"{prefix}embeddings.position_ids": t,
                "text_projection.weight": t,
            },
            clip_name,
        )
        assert list(found) == ["text_model.encoder.layers.0.x"]
    for embedding in ({"shared.weight"}, {"encoder.embed_tokens.weight"},
                      {"shared.weight", "encoder.embed_tokens.weight"}):  # fmt: skip
        found = renamed(dict.fromkeys(embedding | {"encoder.x"}, t), t5_name)
        assert set(found) == {"t5.shared.weight", "t5.encoder.x"}
    for prefix in ("", "bert."):
        found = renamed({f"{prefix}encoder.x": t, f"{prefix}pooler.dense.bias": t}, bert_name)
        assert list(found) == ["bert.encoder.x"]
    assert "bert.cls.weight" in renamed(
        {"cls.weight": t}, bert_name
    )  # unknown names are not dropped
