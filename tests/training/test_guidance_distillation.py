"""The student told w against the two evaluations that it is to replace."""

import math
from dataclasses import replace

import pytest
import torch

from flux1.flow.path import mix
from flux1.flow.schedule import shift_mu, training_times
from flux1.model.transformer import Transformer
from flux1.pipeline.load import load
from flux1.training.mini.data import Buckets
from flux1.training.mini.guidance_distillation import (
    GuidanceDistillationObjective,
    student_of,
    ways,
)
from flux1.training.transformer import Batch, predict
from flux1.variants import TINY
from flux1.weights.load import random_transformer


@pytest.fixture
def teacher() -> Transformer:
    return random_transformer(replace(TINY.transformer, guidance_embed=False), 7)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    return Batch(draw(3, 6, 64), draw(3, 32, 32), draw(3, 32), (2, 3))


def objective_of(teacher, scales, points=1):
    networks = replace(load("tiny"), transformer=student_of(teacher))
    return GuidanceDistillationObjective(networks, teacher, Buckets((), 0), (), 0, scales, points)


def test_a_new_student_told_anything_answers_as_its_teacher(teacher, batch):
    student, t = student_of(teacher), torch.tensor([0.2, 0.5, 0.9])
    answers = [
        predict(student, batch.tokens, t, batch, torch.full((3,), w)) for w in (1.0, 3.5, 7.0)
    ]
    truth = predict(teacher, batch.tokens, t, batch)
    assert all(torch.equal(answer, truth) for answer in answers)


@pytest.mark.parametrize("points", [1, 4])
def test_the_loss_is_the_distance_to_two_evaluations(points, teacher, batch):
    """A new student says v_pos whatever w is, so it goes where the prompt alone leads, and what it
    lacks at scale w is (w - 1) (v_pos - v_neg). One row begins as noise, two as noisy scenes."""
    objective = objective_of(teacher, (2.0, 5.0), points)
    loss, figures = objective.loss(batch, torch.Generator().manual_seed(5))

    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(batch.tokens.shape, generator=generator)
    begin = training_times(3, 6, generator)
    begin[0] = 1.0
    times = ways(begin, points, shift_mu(6), generator)
    w = 2 + 3 * torch.rand(3, generator=generator)
    (nothing,) = objective.networks.text([""])
    empty = replace(batch, txt=nothing.txt.expand(3, -1, -1), pooled=nothing.pooled.expand(3, -1))
    x, lacking = mix(batch.tokens, noise, begin), []
    assert torch.equal(x[0], noise[0])
    for i in range(points):
        v = predict(teacher, x, times[i], batch)
        gap = v - predict(teacher, x, times[i], empty)
        of_row = ((w[:, None, None] - 1) * gap).square().mean(dim=(1, 2))
        lacking.append(of_row / (1 + (w - 1) ** 2))
        x = x - (times[i] - times[i + 1])[:, None, None] * v
    truth = torch.cat(lacking)
    assert truth.min() > 1e-4
    assert loss.item() == pytest.approx(truth.mean().item(), rel=1e-4)
    noisy = times[:-1].flatten() > 0.6
    assert figures["high_t"] == pytest.approx(truth[noisy].mean().item(), rel=1e-4)


def test_ways_fall_to_nothing_and_leave_no_time_out():
    begin = torch.cat([torch.ones(2000), torch.full((2000,), 0.5)])
    times = ways(begin, 6, 0.3, torch.Generator().manual_seed(0))
    assert times.shape == (7, 4000)
    assert torch.equal(times[0], begin)
    assert times[-1].abs().max() == 0
    assert (times.diff(dim=0) <= 0).all()
    inner = times[1:-1, :2000].flatten()
    e = math.exp(0.3)
    of_steps = inner / (e - (e - 1) * inner)  # the shift taken back: evenly spread
    counts = torch.histc(of_steps, 20, 0, 1) / len(of_steps)
    assert (counts - 0.05).abs().max() < 0.01


def test_at_scale_one_there_is_nothing_to_learn(teacher, batch):
    loss, _ = objective_of(teacher, (1.0, 1.0)).loss(batch, torch.Generator().manual_seed(5))
    assert loss.item() < 1e-12


def test_only_the_student_learns_and_the_guidance_embedding_is_a_part_of_it(teacher, batch):
    objective = objective_of(teacher, (1.0, 7.0))
    loss, _ = objective.loss(batch, torch.Generator().manual_seed(5))
    loss.backward()
    assert objective.model.guidance_in.out_layer.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_at_one_scale_the_embedding_is_a_constant(batch):
    told = random_transformer(TINY.transformer, 3)
    fixed, t = told.at_guidance(3.5), torch.tensor([0.1, 0.4, 1.0])
    truth = predict(told, batch.tokens, t, batch, torch.full((3,), 3.5))
    assert torch.allclose(predict(fixed, batch.tokens, t, batch), truth, atol=1e-5)
    other = predict(told, batch.tokens, t, batch, torch.full((3,), 1.0))
    assert not torch.allclose(other, truth, atol=1e-3)
