"""Distances between velocities, where they are known: the network is `tiny`, twice."""

from dataclasses import replace

import pytest
import torch

from adherence.cases import cases_of
from adherence.guidance import velocity_distance
from adherence.painters import Model, load
from flux1.pipeline.advance import evaluate

CASES = cases_of("position", 2)
TOLD_2 = Model("tiny", "tiny", (32, 32), steps=3, guidance=2.0)


def test_a_student_that_is_its_teacher_has_no_error():
    distance = velocity_distance(TOLD_2, replace(TOLD_2, label="student"), CASES)
    assert distance.error == 0
    assert list(distance.at.values()) == [0, 0, 0]
    assert next(iter(distance.at)) == 1.0


def test_an_undistilled_student_misses_what_guidance_adds():
    teacher, student = replace(TOLD_2, steps=1, true_cfg=3.0), replace(TOLD_2, steps=1)
    pipe, wrong, whole = load("tiny"), 0.0, 0.0
    for case in CASES:
        job = pipe.start(teacher.request(case.prompt, case.seed), case.seed)
        ((prompt, negative),) = evaluate([job], pipe.transformer)
        guided = negative + 3 * (prompt - negative)
        wrong += torch.sum((guided - prompt) ** 2).item()
        whole += torch.sum(guided**2).item()
    distance = velocity_distance(teacher, student, CASES)
    assert wrong > 0
    assert distance.error == pytest.approx(wrong / whole, rel=1e-4)
