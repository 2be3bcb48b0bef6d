"""Velocities come back in the order of a job's rows, whatever their shapes."""

import torch

from flux1.flow.guidance import classifier_free
from flux1.flow.solvers import EULER
from flux1.pipeline.advance import advance
from flux1.pipeline.encode import Conditioning
from flux1.pipeline.job import Job


def test_a_negative_prompt_of_another_length_is_not_taken_for_the_prompt(tiny):
    prompt, other = tiny.encode("a fox"), tiny.encode("a tree")
    longer = Conditioning(torch.cat([prompt.txt, prompt.txt]), prompt.pooled)
    noise = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))

    def drawn(positive, negative):
        conditions = {"prompt": positive, "negative": negative}
        job = Job(noise, [1.0, 0.0], EULER, conditions, classifier_free(1.0), 3.5, (4, 4))
        advance([job], tiny.transformer)
        return job.x

    # at scale 1 the negative row has no influence, so only the prompt's own length matters
    torch.testing.assert_close(drawn(longer, other), drawn(longer, longer))
    torch.testing.assert_close(drawn(other, longer), drawn(other, other))
    assert not torch.allclose(drawn(longer, other), drawn(other, longer))
