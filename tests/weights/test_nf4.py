"""NF4 and FP4, packed by hand as bitsandbytes' documentation describes it, and decoded."""

import json

import pytest
import torch

from flux1.errors import WeightsError
from flux1.weights.files.lazy import StoredTensors, in_memory
from flux1.weights.numbers import nf4

# the sixteen values of each kind, as bitsandbytes lists them (FP4 in units of 1/12)
VALUES = {
    "nf4": [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    "fp4": [
        value / 12
        for sign in (1, -1)
        for value in (0, 0.0625 * sign, 8 * sign, 12 * sign, 4 * sign, 6 * sign, 2 * sign, 3 * sign)
    ],
}  # fmt: skip


def packed(kind, shape, nested, block=64, changes=None):
    """(state, the numbers that it stands for), drawn at random."""
    g = torch.Generator().manual_seed(0)
    count = torch.Size(shape).numel()
    values = torch.tensor(VALUES[kind])
    codes = torch.randint(0, 16, (count + count % 2,), generator=g)
    scales = torch.rand(-(-count // block), generator=g) + 0.5
    told = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": list(shape)}
    state = {
        "w": (codes[::2] * 16 + codes[1::2]).to(torch.uint8)[:, None],
        "w.quant_map": values,
        "w.absmax": scales,
    }
    if nested:
        inner = torch.randint(0, 256, scales.shape, generator=g)
        table = torch.linspace(-1, 1, 256)
        outer = torch.rand(-(-len(scales) // 4), generator=g)
        told |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": 0.75}
        state |= {
            "w.absmax": inner.to(torch.uint8),
            "w.nested_absmax": outer,
            "w.nested_quant_map": table,
        }
        scales = table[inner] * outer.repeat_interleave(4)[: len(inner)] + 0.75
    told |= changes or {}
    words = list(json.dumps(told).encode())
    state[f"w.quant_state.bitsandbytes__{kind}"] = torch.tensor(words, dtype=torch.uint8)
    numbers = values[codes[:count]] * scales.repeat_interleave(block)[:count]
    return state, numbers.reshape(shape)


def plain(state):
    found = StoredTensors({name: in_memory(tensor) for name, tensor in state.items()})
    assert nf4.recognise(found)
    return nf4.plain(found)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("shape", [(32, 64), (64, 96), (7, 9), (5, 100)])
@pytest.mark.parametrize("kind", VALUES)
def test_is_decoded(kind, shape, nested):
    state, numbers = packed(kind, shape, nested)
    found = plain(state | {"bias": torch.ones(3)})
    assert set(found) == {"w", "bias"}
    assert (found.stored["w"].dtype, found.stored["w"].shape) == (kind.upper(), shape)
    assert found.stored["w"].size == sum(t.numel() * t.element_size() for t in state.values())
    assert (found["w"] - numbers).abs().max() < 1e-6


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [32, 65]},
        {"shape": [10**9, 10**9]},
        {"shape": "large"},
        {"shape": []},
        {"blocksize": 0},
        {"blocksize": 1e999},
        {"blocksize": 32},
        {"shape": None},
    ],
)
def test_a_description_that_does_not_fit(changes):
    state, _ = packed("nf4", (32, 64), nested=False, changes=changes)
    with pytest.raises(WeightsError, match="w: is not packed as bitsandbytes does it"):
        plain(state)


@pytest.mark.parametrize("part", ["w", "w.absmax", "w.quant_map", "w.nested_quant_map"])
def test_a_missing_part(part):
    state, _ = packed("nf4", (32, 64), nested=True)
    del state[part]
    with pytest.raises(WeightsError, match="w: is not packed"):
        plain(state)
