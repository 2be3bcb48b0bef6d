"""The scalar embedding against its closed form and the reference's rounding."""

import math

import pytest
import torch

from flux1.model.embed import sinusoid


def test_cosines_come_before_sines():
    t = 0.37
    out = sinusoid(torch.tensor([t]))[0]
    k = 5
    angle = 1000 * t * math.exp(-math.log(10_000) * k / 128)
    assert out.shape == (256,)
    assert out[k].item() == pytest.approx(math.cos(angle), abs=1e-4)
    assert out[128 + k].item() == pytest.approx(math.sin(angle), abs=1e-4)


@pytest.mark.parametrize(
    ("guidance", "seen"), [(3.5, 3504), (2.5, 2496), (7, 7008), (10, 9984), (30, 29952), (4, 4000)]
)
def test_bf16_scalars_are_rounded_as_the_reference_rounds_them(guidance, seen):
    ours = sinusoid(torch.tensor([guidance], dtype=torch.bfloat16))
    exact = sinusoid(torch.tensor([seen / 1000], dtype=torch.float64))
    # angles of thousands of radians: equal only if the multiplied value was rounded to `seen`
    assert (ours.double() - exact).abs().max() < 0.01
