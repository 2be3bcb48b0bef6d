"""Stored layers: the products of plain ones, whatever the pieces and the company."""

import pytest
import torch
import torch.nn.functional as F

from flux1.model import stored
from flux1.model.stored import StoredEmbedding, StoredLinear, times_in_pieces


class Doubled:
    """A matrix that is kept at half its size: the simplest form there is."""

    def __init__(self, weight):
        self.half = weight / 2
        self.shape, self.nbytes = tuple(weight.shape), self.half.nbytes

    def times(self, x, bias):
        decoded = lambda rows: self.rows(rows, x.dtype, x.device)  # noqa: E731
        return times_in_pieces(x, decoded, self.shape[0], bias)

    def rows(self, which, dtype, device):
        return (2 * self.half[which]).to(device, dtype)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.fixture(params=[64 * 48, 3 * 64 * 48, stored.PIECE_ON_CPU])
def pieces(request, monkeypatch):
    monkeypatch.setattr(stored, "PIECE_ON_CPU", request.param)


@pytest.mark.parametrize("n_out", [1, 64, 200, 448])
@pytest.mark.parametrize("biased", [True, False])
def test_equals_a_plain_layer(pieces, n_out, biased):
    weight, bias = drawn(n_out, 48), torch.nn.Parameter(drawn(n_out)) if biased else None
    layer = StoredLinear(Doubled(weight), bias, torch.float32, "cpu")
    assert (layer.in_features, layer.out_features) == (48, n_out)
    assert torch.equal(layer.weight, weight)
    for shape in [(2, 7, 48), (1, 300, 48), (5, 48), (40, 48)]:
        x = drawn(*shape)
        expected = F.linear(x, weight, bias)
        assert layer(x).shape == expected.shape
        assert (layer(x) - expected).abs().max() < 1e-5


def test_a_picture_s_row_has_the_same_bits_in_any_company(pieces):
    layer = StoredLinear(Doubled(drawn(448, 48)), None, torch.float32, "cpu")
    rows = drawn(40, 48)
    together = layer(rows)
    for few in (1, 2, 16, 17, 33):
        assert torch.equal(layer(rows[:few]), together[:few])
    assert torch.equal(layer(rows[25:26]), together[25:26])
    assert torch.equal(layer(rows.flip(0)), together.flip(0))


def test_embedding():
    weight, ids = drawn(9, 4), torch.tensor([[3, 3], [0, 8]])
    layer = StoredEmbedding(Doubled(weight), torch.bfloat16, "cpu")
    assert (layer.num_embeddings, layer.embedding_dim) == (9, 4)
    assert torch.equal(layer(ids), F.embedding(ids, weight.bfloat16()))
