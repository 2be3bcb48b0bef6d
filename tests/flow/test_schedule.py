"""The schedule against diffusers' scheduler and the published numbers."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from flux1.flow.schedule import sampling_times, shift_mu, shifted, training_times


@pytest.mark.parametrize(
    ("tokens", "mu"), [(256, 0.5), (1024, 0.63), (4096, 1.15), (4080, 1.1472917), (16384, 3.23)]
)
def test_mu_is_linear_in_the_number_of_tokens(tokens, mu):
    assert shift_mu(tokens) == pytest.approx(mu, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 8, 28, 50])
@pytest.mark.parametrize("size", [(256, 256), (768, 1360), (1024, 1024), (1536, 1536)])
def test_times_equal_diffusers(steps, size):
    tokens = size[0] * size[1] // 256
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
    )
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift_mu(tokens))
    ours = torch.tensor(sampling_times(steps, shift_mu(tokens)))
    torch.testing.assert_close(ours, scheduler.sigmas, atol=1e-6, rtol=0)


def test_eight_steps_at_1024_are_the_published_ones():
    published = [1, 0.956724, 0.904531, 0.840349, 0.759511, 0.654567, 0.512844, 0.310901, 0]
    assert sampling_times(8, shift_mu(4096)) == pytest.approx(published, abs=1e-6)


def test_unshifted_times_are_evenly_spaced():
    assert sampling_times(4, None) == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_shift_inverts_with_the_opposite_mu():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(shifted(shifted(t, 1.3), -1.3), t)


def test_training_times_have_the_shifted_logit_normal_median():
    t = training_times(20_000, 4096, torch.Generator().manual_seed(0))
    assert t.min() > 0
    assert t.max() < 1
    # the median of a monotone transform is the transform of the median (sigmoid(0) = 1/2)
    assert t.median().item() == pytest.approx(shifted(0.5, 1.15), abs=0.01)
