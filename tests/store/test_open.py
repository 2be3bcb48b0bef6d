"""The settings lead to everything that is kept."""

import pytest

from flux1.errors import StoreError
from flux1.settings import ServerSettings
from flux1.store.open import open_store
from store.samples import new_picture, new_request


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"FLUX1_{name.upper()}", raising=False)


def test_everything_is_in_the_data_folder_and_there_again(tmp_path):
    settings = ServerSettings(data=tmp_path / "odd ?#% name" / "data")
    store = open_store(settings)
    assert settings.data.stat().st_mode & 0o777 == 0o700
    account = store.accounts.register("ada@example.org", "a good password")
    _, secret = store.keys.create(account.id, "laptop")
    store.requests.accept(new_request(account.id))
    store.pictures.put("img_1", b"bytes", "image/png")
    store.requests.finish("req_1", [new_picture("img_1")], {}, {})
    store.close()

    again = open_store(settings)
    assert again.secret == store.secret
    assert again.keys.check(secret)[1] == account
    assert again.usage.today(account.id).images == 1
    assert again.deliveries.for_request("req_1") == []
    files = list(settings.data.glob("flux1.db*"))
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * len(files)
    picture = again.requests.picture("img_1")
    assert again.pictures.get(picture.id, picture.media_type) == b"bytes"
    again.close()
    assert {path.name for path in settings.data.iterdir()} >= {"flux1.db", "pictures", "secret"}


def test_database_and_pictures_may_be_elsewhere(tmp_path, empty_url):
    settings = ServerSettings(
        data=tmp_path / "data", database=empty_url, pictures=(tmp_path / "pictures").as_uri()
    )
    store = open_store(settings)
    store.pictures.put("img_1", b"bytes", "image/png")
    assert store.accounts.count() == 0
    store.close()
    assert [path.name for path in settings.data.iterdir()] == ["secret"]
    assert [path.name for path in (tmp_path / "pictures").rglob("*.png")] == ["img_1.png"]


def test_a_data_folder_that_cannot_be_is_refused_in_one_line(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match=r"^data .*: ") as refused:
        open_store(ServerSettings(data=tmp_path / "data"))
    assert "\n" not in str(refused.value)


def test_erased_words_are_in_no_file_any_more(tmp_path):
    store = open_store(ServerSettings(data=tmp_path))
    account = store.accounts.register("ada@example.org", "a good password")
    words = "a very secret fox " * 500
    parameters = {"negative_prompt": words, "prompt": words}
    for number in range(3):
        store.requests.accept(
            new_request(account.id, f"req_{number}", prompt=words, parameters=parameters)
        )
        store.requests.fail(f"req_{number}", "failed", "engine_failed", words)
    assert any(b"secret fox" in path.read_bytes() for path in tmp_path.glob("flux1.db*"))
    for number in range(3):
        store.requests.erase(f"req_{number}", account.id)
    assert not any(b"secret fox" in path.read_bytes() for path in tmp_path.glob("flux1.db*"))
    store.close()


def test_what_is_wrong_with_it_is_said_without_saying_where_it_is(tmp_path, monkeypatch):
    store = open_store(ServerSettings(data=tmp_path))
    assert store.troubles() == []
    monkeypatch.setattr("flux1.store.open.LEAST_FREE_BYTES", 2**60)
    (trouble,) = store.troubles()
    assert trouble.endswith("MiB are left on the disk")
    store.close()
