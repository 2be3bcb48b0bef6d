"""Solvers against flows with known solutions, and their measured order of convergence."""

import math
from itertools import pairwise

import pytest
import torch

from flux1.flow.schedule import sampling_times
from flux1.flow.solvers import SOLVERS


def solve(name, x, times, velocity):
    """Drive a solver to its end; returns the result and how often it asked."""
    steps, asked = SOLVERS[name].run(x, times), 0
    point = next(steps)
    while True:
        asked += 1
        try:
            point = steps.send(velocity(*point))
        except StopIteration as finished:
            return finished.value, asked


WEIGHTS, MEANS, WIDTHS = (0.3, 0.7), (-1.0, 0.8), (0.3, 0.5)


def mixture_velocity(x, t):
    """The exact flow of a mixture of two Gaussians: v = E[noise - image | x_t = x]."""
    total, expected = 0.0, 0.0
    for weight, mean, width in zip(WEIGHTS, MEANS, WIDTHS, strict=True):
        variance = (1 - t) ** 2 * width**2 + t**2
        residual = x - (1 - t) * mean
        density = weight * torch.exp(-(residual**2) / (2 * variance)) / math.sqrt(variance)
        velocity = -mean + residual * (t - (1 - t) * width**2) / variance
        total, expected = total + density, expected + density * velocity
    return expected / total


def mixture_point(noise, t):
    """Where the flow has carried `noise` at time t. In one dimension a flow keeps quantiles, so
    this is F_t^-1(Phi(noise)) of the mixture at t, found by bisection."""
    normal = torch.distributions.Normal(0.0, 1.0)
    parts = [
        (w, (1 - t) * m, math.sqrt((1 - t) ** 2 * s**2 + t**2))
        for w, m, s in zip(WEIGHTS, MEANS, WIDTHS, strict=True)
    ]
    low, high = torch.full_like(noise, -9.0), torch.full_like(noise, 9.0)
    for _ in range(80):
        middle = (low + high) / 2
        below = sum(w * normal.cdf((middle - m) / s) for w, m, s in parts) < normal.cdf(noise)
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return middle


def largest_error(name, count, start, end):
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    times = [start + (end - start) * i / count for i in range(count + 1)]
    drawn, _ = solve(name, mixture_point(noise, start), times, mixture_velocity)
    return (drawn - mixture_point(noise, end)).abs().max().item()


@pytest.mark.parametrize("name", SOLVERS)
def test_order_of_convergence_is_the_one_it_claims(name):
    """Between the ends: at t = 1 and t = 0 the log-SNR of dpmpp_2m is infinite (next test)."""
    errors = [largest_error(name, count, 0.95, 0.05) for count in (64, 128, 256, 512)]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] == pytest.approx(SOLVERS[name].order, abs=0.1), (errors, slopes)


@pytest.mark.parametrize("name", SOLVERS)
def test_from_noise_to_image_the_order_holds_up_to_a_logarithm(name):
    errors = [largest_error(name, count, 1.0, 0.0) for count in (128, 256, 512)]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] > SOLVERS[name].order - 0.3, (errors, slopes)


@pytest.mark.parametrize("name", SOLVERS)
def test_straight_flow_is_solved_exactly_in_one_step(name):
    image, noise = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    drawn, _ = solve(name, noise, [1.0, 0.0], lambda x, t: noise - image)
    torch.testing.assert_close(drawn, image)


@pytest.mark.parametrize("name", SOLVERS)
def test_asks_as_often_as_it_says(name):
    _, asked = solve(name, torch.zeros(2), sampling_times(7, 0.6), lambda x, t: x)
    assert asked == 7 * SOLVERS[name].evaluations
