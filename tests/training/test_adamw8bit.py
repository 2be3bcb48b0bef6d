"""Moments in one byte: beside torch's AdamW, and its own codes' bounds."""

import pytest
import torch
from torch import nn

from flux1.training.adamw8bit import (
    BLOCK,
    AdamW8bit,
    first_from,
    first_to,
    second_from,
    second_to,
)


def dice():
    return torch.Generator().manual_seed(0)


def test_codes_stand_for_their_numbers():
    m = torch.randn(50, BLOCK, generator=dice()) * torch.logspace(-8, 3, 50)[:, None]
    kept = first_from(*first_to(m, dice()))
    largest = m.abs().amax(dim=1, keepdim=True)
    assert ((kept - m).abs() <= 3 / 127 * largest).all()  # a code's step where it is widest
    assert torch.equal(kept.abs().amax(dim=1, keepdim=True), largest)
    kept = second_from(*second_to(m.square(), dice()))
    assert ((kept - m.square()).abs() <= 4 / 255 * largest.square() * 1.01).all()
    assert (kept > 0).all()


def test_rounding_is_right_on_average():
    m = torch.linspace(-1, 1, BLOCK)[None].repeat(4000, 1)
    kept = first_from(*first_to(m, dice()))
    spread = kept.std(dim=0) / 4000**0.5
    assert ((kept.mean(dim=0) - m[0]).abs() <= 5 * spread + 1e-6).all()


def test_zeros_stay_zeros():
    nothing = torch.zeros(2, BLOCK)
    assert not first_from(*first_to(nothing, dice())).any()
    assert not second_from(*second_to(nothing, dice())).any()


def learn(make, steps=300):
    """A regression whose best loss is 0.01: the noise's."""
    g = dice()
    x, true = torch.randn(512, 40, generator=g), torch.randn(40, 7, generator=g)
    y = x @ true + 0.1 * torch.randn(512, 7, generator=g)
    weight = nn.Parameter(torch.zeros(40, 7))
    optimizer = make([weight])
    for _ in range(steps):
        loss = (x @ weight - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item(), weight.detach(), optimizer


def test_it_learns_as_adamw_does():
    theirs, at, _ = learn(lambda p: torch.optim.AdamW(p, lr=3e-2, betas=(0.9, 0.99)))
    ours, there, optimizer = learn(lambda p: AdamW8bit(p, lr=3e-2))
    assert theirs == pytest.approx(0.01, rel=0.2)
    assert ours == pytest.approx(theirs, rel=0.05)
    assert (there - at).abs().max() < 0.05
    state = next(iter(optimizer.state.values()))
    taken = sum(t.nbytes for t in state.values() if isinstance(t, torch.Tensor))
    assert taken == 2 * 2 * (BLOCK + 4)  # two blocks hold 280 numbers


def test_one_step_is_adamws():
    start, gradient = torch.randn(3, 5, generator=dice()), torch.randn(3, 5, generator=dice())
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    for parameter, make in ((ours, AdamW8bit), (theirs, torch.optim.AdamW)):
        parameter.grad = gradient.clone()
        make([parameter], lr=0.1, betas=(0.9, 0.99), weight_decay=0.3).step()
    assert torch.allclose(ours, theirs, atol=1e-6)  # moments are rounded after they were used


def test_what_was_saved_goes_on_bit_for_bit():
    _, whole, _ = learn(AdamW8bit, steps=20)
    first = []

    def resumed(parameters):
        first.append(AdamW8bit(parameters))
        return first[-1]

    _, half, optimizer = learn(resumed, steps=10)
    weight = nn.Parameter(half.clone())
    again = AdamW8bit([weight])
    again.load_state_dict(optimizer.state_dict())
    assert again.state[weight]["first"].dtype == torch.int8
    g = dice()
    x, true = torch.randn(512, 40, generator=g), torch.randn(40, 7, generator=g)
    y = x @ true + 0.1 * torch.randn(512, 7, generator=g)
    for _ in range(10):
        again.zero_grad()
        (x @ weight - y).square().mean().backward()
        again.step()
    assert torch.equal(weight, whole)
