"""Pictures on a local folder and on S3: whole or not at all; links that cannot be forged."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import boto3
import pytest
from moto.server import ThreadedMotoServer

from flux1.errors import StoreError
from flux1.store.images import LinkSigner, Pictures

SECRET = "0123456789abcdef" * 4
NOW = datetime(2030, 6, 15, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def s3():
    """Options that lead to an S3 server with one bucket."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "endpoint": f"http://{host}:{port}", "access_key_id": "ada", "region": "us-east-1",
        "secret_access_key": "geheim",
    }  # fmt: skip
    boto3.client(
        "s3", endpoint_url=options["endpoint"], region_name="us-east-1",
        aws_access_key_id="ada", aws_secret_access_key="geheim",
    ).create_bucket(Bucket="pictures")  # fmt: skip
    yield options
    server.stop()


@pytest.fixture(params=["folder", "file url", "s3"])
def pictures(request, tmp_path):
    if request.param == "folder":
        return Pictures.open(tmp_path / "new folder")
    if request.param == "file url":
        return Pictures.open((tmp_path / "new folder").as_uri())
    return Pictures.open("s3://pictures/of/ours", request.getfixturevalue("s3"))


def test_a_picture_comes_back_until_it_is_deleted(pictures):
    pictures.check()
    pictures.put("img_1", b"\x89PNG", "image/png")
    pictures.put("img_2", b"RIFF", "image/webp")
    assert pictures.get("img_1", "image/png") == b"\x89PNG"
    assert pictures.get("img_1", "image/jpeg") is None
    pictures.put("img_1", b"another", "image/png")
    assert pictures.get("img_1", "image/png") == b"another"
    pictures.delete("img_1", "image/png")
    pictures.delete("img_1", "image/png")
    assert pictures.get("img_1", "image/png") is None
    assert pictures.get("img_2", "image/webp") == b"RIFF"


@pytest.mark.parametrize("id", ["", "..", "../img", "a/b", "IMG", "img.png", "é", "a" * 129, "a\n"])
def test_an_id_that_could_leave_the_folder_is_refused(tmp_path, id):
    pictures = Pictures.open(tmp_path / "pictures")
    for use in (
        lambda: pictures.put(id, b"", "image/png"),
        lambda: pictures.get(id, "image/png"),
        lambda: pictures.delete(id, "image/png"),
    ):
        with pytest.raises(StoreError, match="picture id"):
            use()


def test_an_unknown_type_is_refused(tmp_path):
    with pytest.raises(StoreError, match="'image/gif': is not one of image/png"):
        Pictures.open(tmp_path).put("img_1", b"GIF", "image/gif")


def test_a_half_written_picture_never_shows(pictures):
    versions = [bytes([k]) * 500_000 for k in range(3)]
    pictures.put("img_1", versions[0], "image/png")

    def write():
        for k in range(12):
            pictures.put("img_1", versions[k % 3], "image/png")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            assert pictures.get("img_1", "image/png") in versions
        writing.result()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("ftp://example.org/pictures", "'ftp' is not known"),
        ("S4://bucket", "did you mean 's3'"),
        ("s3://", "s3://"),
        ("/dev/null/pictures", "/dev/null/pictures"),
    ],
)
def test_a_place_that_cannot_be_is_refused_in_one_line(place, words):
    with pytest.raises(StoreError, match=r"^pictures ") as refused:
        Pictures.open(place)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_option_is_refused(s3):
    with pytest.raises(StoreError, match="nonsense"):
        Pictures.open("s3://pictures", s3 | {"nonsense": "1"})


@pytest.mark.parametrize(
    ("bucket", "changes"), [("missing", {}), ("pictures", {"endpoint": "http://127.0.0.1:1"})]
)
def test_a_store_that_does_not_answer_is_found_out_by_the_check(s3, bucket, changes):
    pictures = Pictures.open(f"s3://{bucket}", s3 | changes)
    with pytest.raises(StoreError, match=f"^pictures s3://{bucket}: ") as refused:
        pictures.check()
    assert "geheim" not in str(refused.value)
    assert "\n" not in str(refused.value)


def signed(expires=NOW + timedelta(hours=1), id="img_1"):
    query = parse_qs(LinkSigner(SECRET).sign(id, expires), strict_parsing=True)
    return query["exp"][0], query["sig"][0]


def test_a_link_is_good_until_it_expires():
    exp, sig = signed()
    signer = LinkSigner(SECRET)
    assert exp == str(int(NOW.timestamp()) + 3600)
    assert signer.check("img_1", exp, sig, NOW)
    assert signer.check("img_1", exp, sig, NOW + timedelta(hours=1, microseconds=-1))
    assert not signer.check("img_1", exp, sig, NOW + timedelta(hours=1))


def test_a_link_that_was_changed_is_refused():
    exp, sig = signed()
    signer = LinkSigner(SECRET)
    assert not signer.check("img_2", exp, sig, NOW)
    assert not signer.check("img_1", str(int(exp) + 1), sig, NOW)
    assert not LinkSigner(SECRET[::-1]).check("img_1", exp, sig, NOW)
    for k, digit in enumerate(sig):
        forged = sig[:k] + ("0" if digit != "0" else "1") + sig[k + 1 :]
        assert not signer.check("img_1", exp, forged, NOW)


@pytest.mark.parametrize("odd", ["", "x", "-1", "1e9", "9" * 400, "٣", "é", "\0", "\ud800"])
def test_nonsense_in_a_link_is_refused(odd):
    exp, sig = signed()
    assert not LinkSigner(SECRET).check("img_1", odd, sig, NOW)
    assert not LinkSigner(SECRET).check("img_1", exp, odd, NOW)
    assert not LinkSigner(SECRET).check(odd, exp, sig, NOW)


def test_files_of_a_folder_are_their_owner_s_alone_and_many_folders_share_them(tmp_path):
    pictures = Pictures.open(tmp_path / "pictures")
    for number in range(64):
        pictures.put(f"img_{number:024x}_0", b"x", "image/png")
    made = list((tmp_path / "pictures").rglob("*"))
    modes = {path.stat().st_mode & 0o777 for path in made if path.is_file()}
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert (tmp_path / "pictures").stat().st_mode & 0o777 == 0o700
    assert len({path.parent for path in made if path.is_file()}) > 32


def test_a_picture_is_found_where_it_lay_before(tmp_path):
    pictures = Pictures.open(tmp_path)
    (tmp_path / "_0").mkdir()
    (tmp_path / "_0" / "img_a_0.png").write_bytes(b"old")
    assert pictures.get("img_a_0", "image/png") == b"old"
    pictures.delete("img_a_0", "image/png")
    assert pictures.get("img_a_0", "image/png") is None


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path):
    """Here the system lets no file grow further, which says the same to whoever writes."""
    resource = pytest.importorskip("resource")
    pictures = Pictures.open(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(StoreError, match="too large"):
            pictures.put("img_1", bytes(200_000), "image/png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
