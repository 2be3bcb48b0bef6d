"""What a change of a layer is worth in the number formats that it is computed in."""

import torch
from torch import nn

from flux1.model.lora_changes import LinearDelta, LowRank


@torch.no_grad()
def test_a_gain_near_one_survives_bfloat16():
    """bfloat16 has steps of 0.8 % above 1: a gain of 1.003, kept as it is, would be 1."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 64)
    lengths = layer.weight.norm(dim=1, keepdim=True)
    nothing = LowRank(torch.zeros(1, 64), torch.zeros(64, 1))
    dora = LinearDelta(0, 64, nothing, magnitude=1.003 * lengths)
    x = torch.randn(4, 64)
    exact = 0.003 * x @ layer.weight.T
    layer.bfloat16()
    half = x.bfloat16()
    beside = dora.placed(layer, torch.device("cpu"), torch.bfloat16)
    drawn = beside.output(half, layer(half), layer).float()
    assert (drawn - exact).norm() < 0.2 * exact.norm()
