"""torchao's flattened weights, in the layout that its own documentation shows."""

import json

import pytest
import torch

from flux1.errors import WeightsError
from flux1.weights.files.lazy import StoredTensors, in_memory
from flux1.weights.numbers import torchao


def stored(parts, kind="Int8Tensor"):
    metadata = {"tensor_names": json.dumps(["0.weight"]), "0.weight": json.dumps({"_type": kind})}
    state = {f"0._weight_{part}": tensor for part, tensor in parts.items()} | {
        "0.bias": torch.ones(4)
    }
    return StoredTensors({name: in_memory(t) for name, t in state.items()}, metadata)


def numbers(dtype=torch.int8):
    return torch.randint(-99, 99, (4, 6), generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1), (4, 3), (2, 2), (4, 6)])
@pytest.mark.parametrize("zero", [False, True])
def test_blocks(shape, zero):
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.5
    parts = {"qdata": numbers(), "scale": scale}
    if zero:
        parts["zero_point"] = torch.full(shape, 3, dtype=torch.int8)
    state = stored(parts)
    assert torchao.recognise(state)
    found = torchao.plain(state)
    assert set(found) == {"0.weight", "0.bias"}
    w = found["0.weight"]
    for row in range(4):
        for column in range(6):
            index = tuple(
                place * side // whole
                for place, side, whole in zip((row, column), scale.shape, (4, 6), strict=False)
            )
            expected = (numbers()[row, column].float() - 3 * zero) * scale[index]
            assert w[row, column] == expected


def test_float8():
    scale = torch.rand(4, 1)
    parts = {"qdata": numbers(torch.float8_e4m3fn), "scale": scale, "act_quant_scale": scale}
    found = torchao.plain(stored(parts, "Float8Tensor"))
    assert torch.equal(found["0.weight"], numbers(torch.float8_e4m3fn).float() * scale)


@pytest.mark.parametrize(
    ("parts", "kind", "said"),
    [
        ({"qdata": numbers()}, "Int8Tensor", "its scale is missing"),
        ({"qdata": numbers(), "scale": torch.ones(3, 1)}, "Int8Tensor", "of another shape"),
        ({"qdata": numbers(), "scale": torch.ones(4, 0)}, "Int8Tensor", "of another shape"),
        ({"qdata": numbers(), "scale": torch.ones(4)}, "Int4TilePackedTo4dTensor", "is not read"),
    ],
)
def test_refused(parts, kind, said):
    with pytest.raises(WeightsError, match=said):
        torchao.plain(stored(parts, kind))


@pytest.mark.parametrize("told", ["{", "3", "[]", "{}"])
def test_damaged_metadata(told):
    state = stored({"qdata": numbers(), "scale": torch.ones(4)})
    state.metadata["0.weight"] = told
    with pytest.raises(WeightsError, match=r"0\.weight: its torchao metadata"):
        torchao.plain(state)
