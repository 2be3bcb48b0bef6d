"""Eight-bit floats, with scales and without: the numbers, and parts that do not go together."""

import pytest
import torch

from flux1.errors import WeightsError
from flux1.weights.files.lazy import StoredTensors, in_memory
from flux1.weights.numbers import fp8
from flux1.weights.numbers.schemes import plain_tensors, schemes_of


def stored(state):
    return StoredTensors({name: in_memory(tensor) for name, tensor in state.items()})


def weight(dtype=torch.float8_e4m3fn):
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_plain_number_is_exact(dtype):
    every = torch.arange(256, dtype=torch.uint8).view(dtype)
    found = fp8.plain(stored({"w": every, "b": torch.ones(2)}))
    assert found["w"].dtype == torch.bfloat16
    assert torch.equal(found["w"].float().nan_to_num(9), every.float().nan_to_num(9))
    assert found["b"].dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1)])
@pytest.mark.parametrize("suffix", fp8.SCALES)
def test_scales(shape, suffix):
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.5
    state = {"x.weight": weight(), f"x{suffix}": scale, "scaled_fp8": torch.empty(0)}
    state |= {"x.scale_input": torch.ones(()), "x.comfy_quant": torch.ones(3, dtype=torch.uint8)}
    found = plain_tensors(stored(state))
    assert set(found) == {"x.weight"}
    expected = weight().float() * (scale.reshape(4, 1) if scale.numel() == 4 else scale)
    assert torch.equal(found["x.weight"], expected)
    assert schemes_of(stored(state)) == ["fp8"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"x.scale_weight": torch.ones(())}, "x.weight: a scale without its weight"),
        ({"x.weight": weight(), "x.weight_scale": torch.ones(3)}, "does not go with"),
        ({"x.weight": torch.ones(4, 6), "x.weight_scale": torch.ones(())}, "does not go with"),
        ({"x.weight": weight(), "x.weight_scale_2": torch.ones(())}, "packed as nvfp4"),
    ],
)
def test_what_does_not_go_together(state, said):
    with pytest.raises(WeightsError, match=said):
        fp8.plain(stored(state))


def test_files_for_one_cards_kernels_are_refused():
    state = {f"x.{part}": torch.ones(2) for part in ("qweight", "wscales", "smooth_factor")}
    with pytest.raises(WeightsError, match="Nunchaku"):
        plain_tensors(stored(state))
