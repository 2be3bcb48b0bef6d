"""Few steps: the teacher's path in a closed form, and the student as a LoRA's file."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from flux1.flow.schedule import sampling_times, shift_mu
from flux1.pipeline.load import load
from flux1.training.lora import LoraNetwork, linear_layers
from flux1.training.mini.data import Buckets
from flux1.training.mini.step_distillation import StepDistillationObjective
from flux1.training.transformer import Batch, predict
from flux1.variants import TINY
from flux1.weights.files.safetensors import write_tensors
from flux1.weights.load import random_transformer
from flux1.weights.lora.read import merge_lora, read_lora

CONFIG = replace(TINY.transformer, guidance_embed=False)


class Falling(nn.Module):
    """A velocity that depends on the time alone: v = rate * t in every place."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate))

    def forward(self, x, ids, txt, txt_ids, t, pooled, guidance):
        return self.rate * t[:, None, None].expand_as(x)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    return Batch(draw(2, 6, 64), draw(2, 32, 32), draw(2, 32), (2, 3))


def objective_of(student, teacher) -> StepDistillationObjective:
    return StepDistillationObjective(student, teacher, load("tiny"), Buckets((), 0), (), 0)


def test_the_teacher_comes_where_its_differential_equation_says(batch):
    """dx/dt = 2t has x(s) = x(t) + s^2 - t^2; the midpoint method is exact for it."""
    objective = objective_of(Falling(2.0), Falling(2.0))
    reached = objective._reached(batch.tokens, 0.9, 0.4, batch)
    assert torch.allclose(reached, batch.tokens + 0.4**2 - 0.9**2, atol=1e-6)


def test_the_loss_is_the_distance_to_the_straight_line_to_there(batch):
    """A student that says 3t where the mean velocity of a window is t + s."""
    loss, figures = objective_of(Falling(3.0), Falling(2.0)).loss(
        batch, torch.Generator().manual_seed(1)
    )
    times = sampling_times(4, shift_mu(6))
    gaps = [(3 * t - (t + s)) ** 2 for t, s in itertools.pairwise(times)]
    assert loss.item() == pytest.approx(sum(gaps) / 4, rel=1e-5)
    assert list(figures.values()) == pytest.approx(gaps, rel=1e-5)


def student_with_branches(seed: int = 0):
    network = random_transformer(CONFIG, 1)
    torch.manual_seed(seed)
    lora = LoraNetwork(network, linear_layers(network, ("double_blocks", "img_in")), 4, 8.0)
    return lora, random_transformer(CONFIG, 1)


def test_a_new_lora_changes_nothing_and_is_all_that_learns(batch):
    lora, plain = student_with_branches()
    t = torch.tensor([0.3, 0.8])
    assert torch.equal(
        predict(lora, batch.tokens, t, batch), predict(plain, batch.tokens, t, batch)
    )
    objective = objective_of(lora, plain)
    loss, _ = objective.loss(batch, torch.Generator().manual_seed(1))
    loss.backward()
    ups = [branch.up.grad.abs().max().item() for branch in lora.branches.values()]
    # txt's last layers of the only double block feed the text tokens of the single blocks
    assert min(ups) > 0
    assert all(p.grad is None for p in (*plain.parameters(), *lora.network.parameters()))


def test_what_is_learnt_is_a_lora_file_that_merges_to_the_same(batch, tmp_path):
    lora, plain = student_with_branches()
    generator = torch.Generator().manual_seed(2)
    for branch in lora.branches.values():
        branch.up.data.normal_(generator=generator).mul_(0.05)
    write_tensors(tmp_path / "lora.safetensors", lora.tensors())
    read = read_lora(tmp_path / "lora.safetensors", CONFIG)
    assert not read.unused
    assert len(read.deltas) == len(lora.branches)
    state = merge_lora(plain.state_dict(), read)
    t = torch.tensor([0.3, 0.8])
    before = predict(plain, batch.tokens, t, batch)
    plain.load_state_dict({name: state[name] for name in state})
    merged = predict(plain, batch.tokens, t, batch)
    assert torch.allclose(predict(lora, batch.tokens, t, batch), merged, atol=1e-4)
    assert not torch.allclose(before, merged, atol=1e-2)


def test_a_rank_above_a_layers_width_names_the_layer():
    network = random_transformer(CONFIG, 1)
    with pytest.raises(ValueError, match="rank 65 exceeds img_in, 64 x 64"):
        LoraNetwork(network, ["img_in"], 65, 1.0)
