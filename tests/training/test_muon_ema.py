"""Muon and EMA against their definitions."""

import pytest
import torch
from torch import nn

from flux1.training.ema import Ema
from flux1.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8)])
def test_orthogonalise_brings_singular_values_near_one_and_keeps_the_directions(shape):
    g = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    out = orthogonalise(g)
    for before, after in zip(g, out, strict=True):
        u, s, vh = torch.linalg.svd(before, full_matrices=False)
        big = s > 0.1 * s.max()
        inside = torch.diag(u.T @ after @ vh.T)[big]
        assert inside.min() > 0.5
        assert inside.max() < 1.3
        off = u.T @ after @ vh.T - torch.diag(torch.diag(u.T @ after @ vh.T))
        assert off.abs().max() < 1e-3


def test_a_fused_qkv_is_stepped_as_three_matrices():
    torch.manual_seed(0)
    fused = nn.Parameter(torch.randn(24, 8))
    parts = [nn.Parameter(p.detach().clone()) for p in fused.chunk(3)]
    gradient = torch.randn(24, 8)
    fused.grad = gradient.clone()
    for part, g in zip(parts, gradient.chunk(3), strict=True):
        part.grad = g.clone()
    Muon([fused], lr=0.01).step()
    Muon(parts, lr=0.01).step()
    torch.testing.assert_close(fused.data, torch.cat([p.data for p in parts]))


def test_the_step_has_adamws_usual_size():
    weight = nn.Parameter(torch.zeros(64, 64))
    weight.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=1.0, weight_decay=0.0).step()
    assert weight.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.2)


def test_ema_equals_the_recursion():
    model = nn.Linear(2, 2)
    ema = Ema(model, decay=0.9)
    expected = model.weight.detach().clone()
    for n in range(1, 30):
        with torch.no_grad():
            model.weight.add_(1.0)
        ema.update(model)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(ema.shadow["weight"], expected)
