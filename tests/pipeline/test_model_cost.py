"""What is counted by hand, against the networks and against torch's own counter of operations."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from flux1.model.autoencoder import Autoencoder
from flux1.model.config import ClipConfig, T5Config
from flux1.model.patches import image_ids, text_ids
from flux1.model.text import ClipText, T5Text
from flux1.model.transformer import Transformer
from flux1.pipeline.model_cost import call_flops, decode_flops, encode_flops, model_cost
from flux1.variants import FLUX_DEV, FLUX_MINI, TINY, Text
from flux1.weights.sources import locate
from synthetic import make_diffusers_folder

CLIP = ClipConfig(200, 32, 64, 2, 2)
T5 = T5Config(100, 24, 8, 48, 2, 3)


def numbers(network):
    """In its linear layers, in its vocabulary, in the rest."""
    linear = [m.weight.numel() for m in network.modules() if isinstance(m, nn.Linear)]
    tables = [m.weight.numel() for m in network.modules() if isinstance(m, nn.Embedding)]
    every = sum(p.numel() for p in network.parameters())
    return sum(linear), max(tables, default=0), every - sum(linear) - max(tables, default=0)


def test_text_encoders_have_the_numbers_that_are_counted():
    variant = replace(FLUX_DEV, text=Text(16, CLIP, T5))
    for network, weights in zip(
        (ClipText(CLIP), T5Text(T5)), model_cost(variant).text, strict=True
    ):
        assert (weights.matrices, weights.vocabulary, weights.rest) == numbers(network)
        linear = (m for m in network.modules() if isinstance(m, nn.Linear))
        assert weights.largest == max(m.weight.numel() for m in linear)


def test_flux_dev_has_its_published_size():
    costs = model_cost(FLUX_DEV)
    transformer = costs.transformer
    assert transformer.matrices + transformer.rest == 11_901_408_320
    assert transformer.largest == 7 * 3072**2  # a single-stream block's first layer
    assert transformer.once == 3_246_391_296  # its modulation, 27 %
    assert transformer.file_bytes == pytest.approx(23.8e9, rel=0.001)
    clip, t5 = costs.text
    assert clip.matrices + clip.vocabulary + clip.rest == 123_060_480
    assert t5.matrices + t5.vocabulary + t5.rest == 4_762_310_656


def test_what_is_held_by_how_it_is_kept():
    transformer = model_cost(FLUX_DEV).transformer
    fp32 = torch.float32
    assert transformer.held("plain", fp32, False) == 4 * 11_901_408_320
    assert transformer.held("packed", fp32, False) == pytest.approx(2 * 11_901_408_320, rel=0.001)
    assert transformer.held("mapped", fp32, False) == 4 * transformer.rest
    assert transformer.held("plain", fp32, True) == pytest.approx(11_901_408_320, rel=0.001)
    assert transformer.passing("mapped") == 2 * 2 * transformer.largest


def test_a_file_says_how_much_it_takes(tmp_path):
    source = locate(make_diffusers_folder(tmp_path / "flux-dev"))
    costs = model_cost(source)
    files = source.files
    for weights, folder in zip(
        (costs.transformer, costs.autoencoder, *costs.text),
        [one.path for one in files.networks.values()],
        strict=True,
    ):
        on_disk = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        assert weights.stored == pytest.approx(4, rel=0.01)  # float32
        assert 0.7 * on_disk < weights.file_bytes < on_disk  # the rest is the header


def test_what_no_file_has_is_plain():
    costs = model_cost(locate(TINY))
    assert costs.keeps == ("plain",)
    assert costs.transformer.file_bytes == 0
    assert model_cost(locate(FLUX_MINI)).text_keeps == ("plain",)
    assert model_cost(FLUX_DEV).text_keeps == ("plain", "packed", "mapped")


def counted(action):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        action()
    return counter.get_total_flops()


@pytest.mark.parametrize("variant", [FLUX_DEV, FLUX_MINI, TINY], ids=lambda v: v.id)
def test_a_model_calls_work(variant):
    config, rows, text = variant.transformer, 8, variant.text.max_tokens
    with torch.device("meta"):
        network = Transformer(config)
        inputs = {
            "img": torch.empty(1, rows**2, config.in_channels),
            "img_ids": image_ids(rows, rows).to("meta")[None],
            "txt": torch.empty(1, text, config.context_in_dim),
            "txt_ids": text_ids(text).to("meta")[None],
            "t": torch.empty(1),
            "pooled": torch.empty(1, config.vec_in_dim),
            "guidance": torch.empty(1) if config.guidance_embed else None,
        }
    found = counted(lambda: network(**inputs))
    assert call_flops(config, rows**2 + text) == pytest.approx(found, rel=0.12)


@pytest.mark.parametrize("variant", [FLUX_DEV, FLUX_MINI, TINY], ids=lambda v: v.id)
def test_a_decodes_work(variant):
    config = variant.autoencoder
    with torch.device("meta"):
        network = Autoencoder(config)
        z = torch.empty(1, config.latent_channels, 16, 24)
    pixels = 16 * 24 * config.downscale**2
    assert decode_flops(config, pixels) == counted(lambda: network.decode(z))


def test_encodings_work():
    network, ids = T5Text(T5), torch.zeros(1, 16, dtype=torch.int64)
    text = Text(16, CLIP, T5)
    found = counted(lambda: network(ids))
    assert encode_flops(text, 16) == pytest.approx(found, rel=0.25)  # the scores are left out
    assert encode_flops(TINY.text, 16) == 0
