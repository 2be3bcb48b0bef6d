"""A secret of its own for every service."""

import pytest

from flux1.errors import StoreError
from flux1.store.secret import load_secret
from store.samples import race


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path):
    secret = load_secret(tmp_path)
    assert len(bytes.fromhex(secret)) == 32
    assert load_secret(tmp_path) == secret
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_no_two_services_share_one(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    assert load_secret(folders[0]) != load_secret(folders[1])


def test_racing_starts_agree_on_one(tmp_path):
    raced = race(8, lambda _: load_secret(tmp_path))
    assert set(raced) == {load_secret(tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("content", [b"", b"secret", b"0" * 63, b"\xff"])
def test_a_damaged_secret_is_not_replaced(tmp_path, content):
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(StoreError, match="not 64 hexadecimal digits"):
        load_secret(tmp_path)
    assert (tmp_path / "secret").read_bytes() == content
