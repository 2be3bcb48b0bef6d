"""Path, noise and guidance against their closed forms."""

import torch

from flux1.flow.guidance import classifier_free, embedded
from flux1.flow.noise import initial_noise
from flux1.flow.path import denoised, mix, velocity


def test_mix_and_velocity_describe_one_straight_line():
    image, noise = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    t = torch.tensor([0.0, 0.3, 1.0])
    x = mix(image, noise, t)
    torch.testing.assert_close(x[0], image[0])
    torch.testing.assert_close(x[2], noise[2])
    torch.testing.assert_close(denoised(x[1], 0.3, velocity(image, noise)[1]), image[1])


def test_noise_is_the_reference_stream_and_depends_on_the_seed_alone():
    expected = torch.randn(1, 16, 8, 6, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(123)
    assert torch.equal(initial_noise(5, 16, 8, 6), expected)
    assert not torch.equal(initial_noise(6, 16, 8, 6), expected)


def test_drawing_noise_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    initial_noise(5, 16, 8, 6)
    assert torch.equal(torch.get_rng_state(), before)


def test_classifier_free_extrapolates_from_negative_to_positive():
    positive, negative = torch.tensor([2.0]), torch.tensor([1.0])
    assert classifier_free(3.0).combine([positive, negative]).item() == 4.0
    assert classifier_free(1.0).combine([positive, negative]).item() == 2.0
    assert embedded().rows == ("prompt",)
    assert embedded().combine([positive]) is positive
