"""The settings lead to everything that is kept."""

import pytest

from flux1.errors import StoreError
from flux1.settings import ServerSettings
from flux1.store.open import open_store
from store.samples import new_job, new_picture


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
    store.jobs.accept(new_job(account.id))
    store.pictures.put("img_1", b"bytes", "image/png")
    store.jobs.finish("req_1", [new_picture("img_1")], {}, {})
    store.close()

    again = open_store(settings)
    assert again.secret == store.secret
    assert again.keys.check(secret)[1] == account
    assert again.usage.today(account.id).images == 1
    assert again.deliveries.for_job("req_1") == []
    files = list(settings.data.glob("flux1.db*"))
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * len(files)
    picture = again.jobs.picture("img_1")
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
