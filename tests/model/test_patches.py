import torch

from flux1.model.patches import image_ids, pack, text_ids, unpack


def test_each_number_goes_to_its_token_and_feature():
    z = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6).float()
    tokens = pack(z)
    assert tokens.shape == (2, 6, 12)
    for b, c, y, x in ((0, 0, 0, 0), (1, 2, 3, 5), (0, 1, 2, 3), (1, 0, 1, 4)):
        token = (y // 2) * 3 + x // 2
        feature = 4 * c + 2 * (y % 2) + x % 2
        assert tokens[b, token, feature] == z[b, c, y, x]


def test_unpack_undoes_pack():
    z = torch.randn(2, 16, 6, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpack(pack(z), rows=3, columns=5), z)


def test_ids_are_row_and_column():
    assert image_ids(2, 3).tolist() == [[0, y, x] for y in range(2) for x in range(3)]
    assert text_ids(4).tolist() == [[0, 0, 0]] * 4
