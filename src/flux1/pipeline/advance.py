"""The heart: one model call moves many jobs by one evaluation each."""

from collections.abc import Sequence
from itertools import groupby

import torch

from flux1.model.transformer import Transformer
from flux1.pipeline.batch import batch, shape_of
from flux1.pipeline.job import Job


@torch.no_grad()
def advance(jobs: Sequence[Job], transformer: Transformer) -> None:
    """Evaluate every job's rows and hand each its velocities.

    Jobs may differ in everything: solver, step count, guidance, seed, time. Rows of one shape
    (image tokens, text tokens) share a model call; each further shape is a call more.
    """
    weight = transformer.img_in.weight
    asked = [(shape_of(row), job, row) for job in jobs for row in job.rows()]
    velocities: dict[int, list[torch.Tensor]] = {id(job): [] for job in jobs}
    for _, group in groupby(sorted(asked, key=lambda item: item[0]), key=lambda item: item[0]):
        members = list(group)
        inputs = batch([row for _, _, row in members], weight.device, weight.dtype)
        for (_, job, _), velocity in zip(members, transformer(**inputs), strict=True):
            velocities[id(job)].append(velocity.to(job.x.device))
    for job in jobs:
        job.receive(velocities[id(job)])
