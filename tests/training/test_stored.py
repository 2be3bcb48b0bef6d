"""Gradients through weights that are kept packed: those of the weights that they stand for."""

import pytest
import torch

from flux1.model.stored import StoredLinear
from flux1.training.finetune.base_networks import layers_of
from flux1.training.finetune.stored import let_gradients_through
from flux1.training.lora import LoraNetwork
from flux1.training.transformer import predict, recompute_blocks
from flux1.variants import TINY
from flux1.weights.load import random_transformer
from flux1.weights.numbers.quantize import quantize_layers
from training.batches import random_batch

CONFIG = TINY.transformer


def dense(network):
    """A plain network with the weights that a quantised one stands for."""
    plain = random_transformer(CONFIG, 1)
    for name, module in network.named_modules():
        if isinstance(module, StoredLinear):
            plain.get_submodule(name).weight.data.copy_(module.weight)
    return plain


def gradients(network, precision=torch.float32):
    torch.manual_seed(0)
    lora = LoraNetwork(network, layers_of(network, "blocks"), 4, 8.0)
    generator = torch.Generator().manual_seed(1)
    for branch in lora.branches.values():
        branch.up.data.normal_(generator=generator).mul_(0.1)
    batch, one = random_batch(CONFIG), torch.tensor([1.0, 1.0])
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != torch.float32):
        answer = predict(network, batch.tokens, torch.tensor([0.3, 0.8]), batch, one)
    answer.square().mean().backward()
    return {name: parameter.grad for name, parameter in lora.named_parameters()}


@pytest.mark.parametrize("recomputed", [False, True])
def test_gradients_through_packed_layers_are_those_through_plain_ones(recomputed):
    network = random_transformer(CONFIG, 1)
    quantize_layers(network, "int8")
    wanted = gradients(dense(network))
    let_gradients_through(network)
    if recomputed:
        recompute_blocks(network)
    found = gradients(network)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)


def test_layers_that_multiply_in_eight_bits_pass_the_gradient_of_their_weight():
    network = random_transformer(CONFIG, 1)
    quantize_layers(network, "int8_dynamic")
    wanted = gradients(dense(network))
    let_gradients_through(network)
    found = gradients(network)
    for name, gradient in wanted.items():
        cosine = torch.cosine_similarity(found[name].flatten(), gradient.flatten(), dim=0)
        assert cosine > 0.99, name


def test_in_bfloat16_they_are_near():
    network = random_transformer(CONFIG, 1)
    quantize_layers(network, "int8")
    wanted = gradients(dense(network))
    let_gradients_through(network)
    network.to(torch.bfloat16)
    found = gradients(network, torch.bfloat16)
    for name, gradient in wanted.items():
        cosine = torch.cosine_similarity(found[name].flatten(), gradient.flatten(), dim=0)
        assert cosine > 0.97, name


def test_what_is_recomputed_is_the_same_to_the_last_bit():
    plain = gradients(random_transformer(CONFIG, 1))
    network = random_transformer(CONFIG, 1)
    recompute_blocks(network)
    assert all(torch.equal(plain[n], g) for n, g in gradients(network).items())
