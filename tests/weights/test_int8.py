"""The error bound of int8 rows, and what is left alone."""

import pytest
import torch

from flux1.errors import WeightsError
from flux1.weights.files.lazy import StoredTensors, in_memory
from flux1.weights.numbers import int8
from flux1.weights.numbers.int8 import quantize_rows


def dequantize_rows(state):
    return int8.plain(StoredTensors({name: in_memory(state[name]) for name in state}))


def drawn(*shape: int) -> torch.Tensor:
    tensor = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return tensor * torch.logspace(-6, 3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))


@pytest.mark.parametrize("shape", [(64, 33), (16, 8, 3, 3), (5, 1)])
def test_error_is_at_most_half_a_step_of_its_row(shape):
    w = drawn(*shape)
    back = dequantize_rows(quantize_rows({"w": w}))["w"]
    assert back.shape == w.shape
    assert back.dtype == torch.float32
    largest = w.flatten(1).abs().amax(dim=1, keepdim=True)
    assert ((back - w).flatten(1).abs() <= largest / 254 * (1 + 1e-5)).all()
    assert (back - w).abs().max() > 0 or shape[1] == 1


def test_layout_of_the_file():
    state = quantize_rows({"w": drawn(4, 3, 2, 2), "bias": torch.ones(4, dtype=torch.float16)})
    assert state["w"].dtype == torch.int8
    assert state["w"].shape == (4, 3, 2, 2)
    assert state["w.row_scale"].dtype == torch.float32
    assert state["w.row_scale"].shape == (4,)
    assert state["bias"].dtype == torch.float32
    assert "bias.row_scale" not in state


def test_rows_of_zeros_stay_zero():
    w = torch.zeros(2, 3)
    w[1, 0] = 5
    assert torch.equal(dequantize_rows(quantize_rows({"w": w}))["w"], w)


def test_quantising_again_changes_nothing():
    once = quantize_rows({"w": drawn(8, 9)})
    twice = quantize_rows(dict(dequantize_rows(once)))
    assert torch.equal(once["w"], twice["w"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad):
    with pytest.raises(WeightsError, match="w: holds numbers that are not finite"):
        quantize_rows({"w": torch.tensor([[1.0, bad]])})


def test_scale_without_its_tensor():
    with pytest.raises(WeightsError, match=r"w\.row_scale"):
        dequantize_rows({"w.row_scale": torch.ones(2)})


@pytest.mark.parametrize(
    "state",
    [
        {"w": torch.ones(2, 2, dtype=torch.int8), "w.row_scale": torch.ones(3)},
        {"w": torch.ones(2, 2), "w.row_scale": torch.ones(2)},
    ],
)
def test_scale_that_does_not_fit(state):
    with pytest.raises(WeightsError, match="does not go with"):
        dequantize_rows(state)["w"]
