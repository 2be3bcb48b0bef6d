"""Networks in memory: what is replaced is used, and nothing is shared that was not given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flux1 import FluxPipeline
from flux1.errors import RequestError
from flux1.pipeline.encode import text_encoder
from flux1.pipeline.load import load
from flux1.pipeline.loaded import weight_bytes
from flux1.weights.load import random_autoencoder, random_text, random_transformer
from flux1.weights.numbers.quantize import quantize_layers
from lora_files import make_lora

SEEN = {"seed": 3, "steps": 2}


@pytest.fixture
def networks():
    return load("tiny")


def drawn(networks):
    return FluxPipeline(networks)("a fox", **SEEN).images[0].tobytes()


def test_a_replaced_text_encoder_is_asked(networks):
    other = text_encoder(random_text(networks.variant.text, seed=9), networks.variant.text)
    before = drawn(networks)
    replaced = replace(networks, text=other)
    (expected,) = other(["a fox"])
    assert torch.equal(FluxPipeline(replaced).encode("a fox").txt, expected.txt)
    assert drawn(replaced) != before
    assert drawn(networks) == before


@pytest.mark.parametrize("part", ["transformer", "autoencoder"])
def test_a_replaced_network_draws(networks, part):
    build = {"transformer": random_transformer, "autoencoder": random_autoencoder}[part]
    other = build(getattr(networks.variant, part), 9)
    assert drawn(replace(networks, **{part: other})) != drawn(networks)


def test_loras_belong_to_the_networks_that_loaded_them(networks, tmp_path):
    state = dict(networks.transformer.state_dict())
    save_file(make_lora("kohya", networks.transformer.config, state).tensors, tmp_path / "x.st")
    networks.loras.load(tmp_path / "x.st", "style")
    twin = replace(networks, exact_tiling=True)
    assert networks.loras["style"].given == tmp_path / "x.st"
    with pytest.raises(RequestError, match="no LoRA 'style' is loaded"):
        twin.loras["style"]


def test_bytes_are_those_of_the_tensors(networks):
    parts = (networks.transformer, networks.autoencoder, networks.text.bert)
    tensors = [t for part in parts for t in part.state_dict().values()]
    assert networks.nbytes == sum(t.numel() * t.element_size() for t in tensors)
    plain = weight_bytes(networks.transformer)
    quantize_layers(networks.transformer, "int8")
    small = [p.nbytes for p in networks.transformer.parameters()]
    assert sum(small) < weight_bytes(networks.transformer) < plain / 2


def test_exact_tiling_draws_the_same_picture(networks):
    whole, tiled = (
        np.asarray(FluxPipeline(one)("a fox", **SEEN).images[0]).astype(int)
        for one in (networks, replace(networks, exact_tiling=True))
    )
    assert np.abs(whole - tiled).max() <= 1
