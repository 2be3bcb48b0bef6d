"""The student told w against the two evaluations that it is to replace."""

from dataclasses import replace

import pytest
import torch

from flux1 import FluxPipeline
from flux1.flow.path import mix
from flux1.flow.schedule import training_times
from flux1.model.transformer import Transformer
from flux1.training.mini.data import Buckets
from flux1.training.mini.guidance_distillation import GuidanceDistillationObjective, student_of
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


def objective_of(teacher, scales):
    pipeline = replace(FluxPipeline.from_pretrained("tiny"), transformer=student_of(teacher))
    return GuidanceDistillationObjective(pipeline, teacher, Buckets((), 0), (), 0, scales)


def test_a_new_student_told_anything_answers_as_its_teacher(teacher, batch):
    student, t = student_of(teacher), torch.tensor([0.2, 0.5, 0.9])
    answers = [
        predict(student, batch.tokens, t, batch, torch.full((3,), w)) for w in (1.0, 3.5, 7.0)
    ]
    truth = predict(teacher, batch.tokens, t, batch)
    assert all(torch.equal(answer, truth) for answer in answers)


def test_the_loss_is_the_distance_to_two_evaluations(teacher, batch):
    """A new student says v_pos, so what it lacks at scale w is (w - 1) (v_pos - v_neg)."""
    objective = objective_of(teacher, (2.0, 5.0))
    loss, _ = objective.loss(batch, torch.Generator().manual_seed(5))

    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(batch.tokens.shape, generator=generator)
    t = training_times(3, 6, generator)
    w = 2 + 3 * torch.rand(3, generator=generator)
    (nothing,) = objective.pipeline.text([""])
    empty = replace(batch, txt=nothing.txt.expand(3, -1, -1), pooled=nothing.pooled.expand(3, -1))
    x = mix(batch.tokens, noise, t)
    gap = predict(teacher, x, t, batch) - predict(teacher, x, t, empty)
    lacking = ((w[:, None, None] - 1) * gap).square().mean()
    assert lacking > 1e-3
    assert loss.item() == pytest.approx(lacking.item(), rel=1e-4)


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
