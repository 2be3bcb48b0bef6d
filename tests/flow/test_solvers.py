"""Solvers against flows with known solutions, and their measured order of convergence."""

import math
from itertools import pairwise

import pytest
import torch

from flux1.flow.schedule import sampling_times
from flux1.flow.solvers import EVALUATIONS_PER_STEP, SOLVERS

ORDER = {"euler": 1, "heun": 2, "midpoint": 2, "dpmpp_2m": 2}


def solve(name, x, times, velocity):
    """Drive a solver to its end; returns the result and how often it asked."""
    steps, asked = SOLVERS[name](x, times), 0
    point = next(steps)
    while True:
        asked += 1
        try:
            point = steps.send(velocity(*point))
        except StopIteration as finished:
            return finished.value, asked


def gaussian_velocity(x, t):
    """The exact flow of N(m, s^2) data: x_t ~ N((1-t) m, (1-t)^2 s^2 + t^2), so
    v = -m + (x - (1-t) m) (t - (1-t) s^2) / ((1-t)^2 s^2 + t^2)."""
    m, s = 0.7, 0.4
    variance = (1 - t) ** 2 * s**2 + t**2
    return -m + (x - (1 - t) * m) * (t - (1 - t) * s**2) / variance


def gaussian_solution(noise):
    return 0.7 + 0.4 * noise


@pytest.mark.parametrize("name", SOLVERS)
def test_order_of_convergence_is_the_one_it_claims(name):
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    truth = gaussian_solution(noise)
    counts = (32, 64, 128, 256)
    errors = [
        (solve(name, noise, sampling_times(n, None), gaussian_velocity)[0] - truth)
        .abs()
        .max()
        .item()
        for n in counts
    ]
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert slopes[-1] == pytest.approx(ORDER[name], abs=0.25), (errors, slopes)


@pytest.mark.parametrize("name", SOLVERS)
def test_straight_flow_is_solved_exactly_in_one_step(name):
    image, noise = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    drawn, _ = solve(name, noise, [1.0, 0.0], lambda x, t: noise - image)
    torch.testing.assert_close(drawn, image)


@pytest.mark.parametrize("name", SOLVERS)
def test_asks_as_often_as_it_says(name):
    _, asked = solve(name, torch.zeros(2), sampling_times(7, 0.6), lambda x, t: x)
    assert asked == 7 * EVALUATIONS_PER_STEP[name]


def test_every_solver_has_an_order_to_check():
    assert SOLVERS.keys() == ORDER.keys() == EVALUATIONS_PER_STEP.keys()
