"""Repositories as Hugging Face's library keeps them on disk, and as its site hands them out (by a
small server of the same paths, on this machine)."""

import json
import os
import subprocess
import sys
from hashlib import sha1

import pytest

from flux1.errors import MissingWeightsError
from flux1.weights.snapshot import find_snapshot
from hub import COMMIT, hub

ALWAYS, EITHER = ("config.json", "preparation.json"), ("model.bin", "sub/model.bin")


def keep(cache, repository, files, ref="main", commit=COMMIT):
    """Put files where the library puts what it downloads: blobs, snapshots' links to them, refs."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    for name, content in files.items():
        blob = folder / "blobs" / sha1(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref is not None:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return snapshot


def contents(*names):
    return {name: name.encode() for name in names}


@pytest.fixture
def offline(monkeypatch):
    """As with HF_HUB_OFFLINE=1, which the library reads when it is imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("either", [EITHER, EITHER[:1], EITHER[1:]])
def test_what_the_cache_holds_is_taken(tmp_path, offline, either):
    snapshot = keep(tmp_path, "ann/net", contents(*ALWAYS, *either))
    assert find_snapshot("ann/net", ALWAYS, EITHER, cache=tmp_path) == snapshot


def test_a_revision_is_a_name_or_a_commit(tmp_path, offline):
    main = keep(tmp_path, "ann/net", contents(*ALWAYS, *EITHER))
    other = "f" * 40
    tagged = keep(tmp_path, "ann/net", contents(*ALWAYS, *EITHER), "v2", other)
    for revision, snapshot in [(None, main), ("main", main), ("v2", tagged), (other, tagged)]:
        assert find_snapshot("ann/net", ALWAYS, EITHER, revision, tmp_path) == snapshot


@pytest.mark.parametrize(("repository", "revision", "complaint"), [
    ("ann/net", "v9", "ann/net@v9 is not (or not whole) in Hugging Face's cache"),
    ("bob/net", None, "bob/net is not (or not whole) in Hugging Face's cache"),
    ("ann/bare", None, "ann/bare has no preparation.json, no model.bin or sub/model.bin"),
    ("ann/configs", None, "ann/configs has no model.bin or sub/model.bin"),
    ("ann--net/x", None, "ann--net/x cannot be had from Hugging Face: Cannot have -- or"),
])  # fmt: skip
def test_offline_what_is_not_there_is_one_line(tmp_path, offline, repository, revision, complaint):
    keep(tmp_path, "ann/net", contents(*ALWAYS, *EITHER))
    keep(tmp_path, "ann/bare", contents(*ALWAYS[:1]))
    keep(tmp_path, "ann/configs", contents(*ALWAYS))
    with pytest.raises(MissingWeightsError) as missing:
        find_snapshot(repository, ALWAYS, EITHER, revision, tmp_path)
    assert complaint in str(missing.value)
    assert "\n" not in str(missing.value)


# --- the site -----------------------------------------------------------------------------------

SITE = {
    "ann/both": contents("README.md", "model.safetensors", *ALWAYS, *EITHER),
    "ann/sub": contents("model.safetensors", *ALWAYS, EITHER[1]),
    "ann/torch": contents("model.safetensors", *ALWAYS),
}


SCRIPT = f"""
import json, sys
from flux1.errors import MissingWeightsError
from flux1.weights.snapshot import find_snapshot
for name in sys.argv[1:]:
    repository, _, revision = name.partition("@")
    try:
        print(json.dumps(str(find_snapshot(repository, {ALWAYS}, {EITHER}, revision or None))))
    except MissingWeightsError as missing:
        print(json.dumps({{"error": str(missing)}}))
"""


def look_up(address, cache, *names):
    """What a process finds whose library reads these places from its environment."""
    settings = {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        env=os.environ | settings, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_is_not_in_the_cache_is_downloaded_and_no_more(tmp_path):
    names = ["ann/both", "ann/sub", "ann/torch", "ann/both@v9", "bob/net", "ann/gated"]
    with hub(SITE, gated=("ann/gated",)) as server:
        address = server.address
        both, sub, torch, revision, unknown, gated = look_up(address, tmp_path, *names)
        got = {path.split(f"/{COMMIT}/")[1] for _, path, _ in server.asked if "/resolve/" in path}
        server.asked.clear()
        assert look_up(address, tmp_path, *names[:2]) == [both, sub]
        assert server.asked == []  # they are in the cache by now
    for found, repository, one in [(both, "ann/both", EITHER[0]), (sub, "ann/sub", EITHER[1])]:
        folder = tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT
        assert found == str(folder)
        held = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
        assert held == {*ALWAYS, one}
        assert (folder / one).read_bytes() == SITE[repository][one]
    assert got == {*ALWAYS, *EITHER}
    assert torch == {"error": "ann/torch has no model.bin or sub/model.bin"}
    assert revision == {"error": "ann/both@v9 is no revision that Hugging Face has"}
    assert unknown == {"error": "bob/net is no repository of Hugging Face, or a private one"}
    assert gated["error"].startswith("ann/gated is given only to those who are logged in")


def test_where_the_site_is_out_of_reach_that_is_said(tmp_path):
    with hub(SITE, gated=("ann/gated",)) as server:
        address = server.address
    (found,) = look_up(address, tmp_path, "ann/both")  # nobody answers there any more
    assert found == {
        "error": "ann/both is not (or not whole) in Hugging Face's cache, and that site is out of "
        "reach"
    }
