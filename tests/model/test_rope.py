"""Rotary positions against their closed form: a complex number turned by id * theta^(-2j/d)."""

import math

import torch

from flux1.model.patches import image_ids, text_ids
from flux1.model.rope import apply_rope, rope_table

AXES = (16, 56, 56)


def turned(x: torch.Tensor, ids: list[int], axes: tuple[int, int, int]) -> torch.Tensor:
    """One head's vector, rotated pair by pair in float64."""
    result, pair = [], 0
    for axis, width in enumerate(axes):
        for j in range(width // 2):
            angle = ids[axis] * 10_000 ** (-2 * j / width)
            number = complex(x[2 * pair], x[2 * pair + 1]) * complex(
                math.cos(angle), math.sin(angle)
            )
            result += [number.real, number.imag]
            pair += 1
    return torch.tensor(result, dtype=torch.float64)


def test_equals_the_closed_form():
    ids = torch.tensor([[0, 0, 0], [0, 5, 9], [0, 63, 1], [3, 127, 255]])
    x = torch.randn(1, 1, 4, 128, generator=torch.Generator().manual_seed(0))
    got = apply_rope(x, rope_table(ids[None], AXES, 10_000))
    for token in range(4):
        expected = turned(x[0, 0, token].double(), ids[token].tolist(), AXES)
        assert (got[0, 0, token] - expected).abs().max() < 1e-4


def test_text_is_not_rotated():
    x = torch.randn(1, 2, 7, 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(apply_rope(x, rope_table(text_ids(7)[None], AXES, 10_000)), x)


def test_only_distances_matter():
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 128, generator=g)

    def score(a: list[int], b: list[int]) -> torch.Tensor:
        tables = [rope_table(torch.tensor([[ids]]), AXES, 10_000) for ids in (a, b)]
        return (apply_rope(q, tables[0]) * apply_rope(k, tables[1])).sum()

    assert (score([0, 5, 9], [0, 2, 4]) - score([0, 25, 39], [0, 22, 34])).abs() < 1e-4


def test_positions_past_256_stay_exact_in_half_precision():
    ids = image_ids(1, 300)
    table = rope_table(ids, AXES, 10_000)
    x = torch.ones(1, 1, 300, 128, dtype=torch.bfloat16)
    rotated = apply_rope(x, table[:, None]).float()
    assert (rotated[0, 0, 256] - rotated[0, 0, 257]).abs().max() > 0.1
