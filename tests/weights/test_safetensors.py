"""Files that are whole, and files that are not: each fault is one line that names the file."""

import json
import stat

import pytest
import torch
from safetensors.torch import load_file

from flux1.errors import Flux1Error, MissingWeightsError, OutputError, WeightsError
from flux1.weights.files.safetensors import (
    FileTensors,
    holds_network,
    write_sharded,
    write_tensors,
)
from synthetic import t5_model, transformer_model

STATE = {
    "a.weight": torch.arange(12.0).reshape(3, 4),
    "b": torch.ones(5, dtype=torch.bfloat16),
    "c": torch.arange(6, dtype=torch.int8).reshape(2, 3),
}


@pytest.fixture
def file(tmp_path):
    write_tensors(tmp_path / "x.safetensors", STATE, {"about": "a test"})
    return tmp_path / "x.safetensors"


def equal(found, expected) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and torch.equal(found[name], expected[name])
        for name in expected
    )


def the_line(kind: type[Flux1Error], path) -> str:
    with pytest.raises(kind) as caught:
        FileTensors(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path.name) in line
    return line


def test_what_is_written_is_read(file):
    found = FileTensors(file)
    assert equal(found, STATE)
    assert found.metadata == {"about": "a test"}
    assert equal(load_file(file), STATE)  # and by the library alone


def test_the_same_tensors_give_the_same_bytes(file, tmp_path):
    again = tmp_path / "again.safetensors"
    write_tensors(again, dict(reversed(STATE.items())), {"about": "a test"})
    assert again.read_bytes() == file.read_bytes()
    write_tensors(again, FileTensors(file), {"about": "a test"})
    assert again.read_bytes() == file.read_bytes()


def test_views_and_transposed_tensors_are_written_whole(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"top": whole[:1], "rest": whole[1:], "turned": whole.T}
    write_tensors(tmp_path / "x.safetensors", state)
    assert equal(FileTensors(tmp_path / "x.safetensors"), state)


def test_others_may_read_what_was_written(file, tmp_path):
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_truncated(file):
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    size = len(whole)
    assert f"truncated: {size - 1} of {size} bytes" in the_line(WeightsError, file)
    file.write_bytes(whole[:40])
    assert "truncated" in the_line(WeightsError, file)


def test_bytes_too_many(file):
    file.write_bytes(file.read_bytes() + b"more")
    assert "damaged" in the_line(WeightsError, file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"PK\x03\x04" + bytes(60),
        b"<!DOCTYPE html><html></html>",
        (2**40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_not_a_safetensors_file(file, content):
    file.write_bytes(content)
    assert "not a safetensors file" in the_line(WeightsError, file)


@pytest.mark.parametrize(
    "header", [b"{nonsense!", b'{"a": 1}', b'{"a": {"dtype": "F32"}}', b"{\xff}"]
)
def test_damaged_header(file, header):
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "header is damaged" in the_line(WeightsError, file)


def test_header_that_contradicts_itself(file):
    header = json.dumps(
        {"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 4]}}  # five numbers in four bytes
    ).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "damaged" in the_line(WeightsError, file)


def test_pointer_of_git_lfs(file):
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in the_line(WeightsError, file)


def test_absent(tmp_path):
    the_line(MissingWeightsError, tmp_path / "none.safetensors")
    assert "model.safetensors" in the_line(MissingWeightsError, tmp_path)


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"x\.safetensors: cannot be written"):
        write_tensors(tmp_path / "file" / "x.safetensors", STATE)


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    (tmp_path / "x.safetensors").mkdir()  # the rename will fail
    (tmp_path / "x.safetensors" / "keep").touch()
    with pytest.raises(OutputError):
        write_tensors(tmp_path / "x.safetensors", STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


class TestShards:
    @pytest.fixture
    def folder(self, tmp_path):
        write_sharded(tmp_path, "model", STATE, max_shard_size=48)
        return tmp_path

    def test_are_read_as_one(self, folder):
        assert sorted(path.name for path in folder.iterdir()) == [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ]
        assert equal(FileTensors(folder), STATE)
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == 48 + 10 + 6

    def test_give_way_to_one_file(self, folder):
        write_sharded(folder, "model", STATE, max_shard_size=1000)
        assert [path.name for path in folder.iterdir()] == ["model.safetensors"]
        assert equal(FileTensors(folder), STATE)

    def test_one_missing(self, folder):
        (folder / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(MissingWeightsError, match=r"missing .*model-00002-of-00002"):
            FileTensors(folder)

    def test_index_missing(self, folder):
        (folder / "model.safetensors.index.json").unlink()
        with pytest.raises(MissingWeightsError, match=r"missing .*model\.safetensors\.index\.json"):
            FileTensors(folder)

    def test_index_that_lists_another_tensor(self, folder):
        index = folder / "model.safetensors.index.json"
        told = json.loads(index.read_text())
        told["weight_map"]["extra"] = "model-00001-of-00002.safetensors"
        index.write_text(json.dumps(told))
        with pytest.raises(WeightsError, match="disagrees with its shards about extra"):
            FileTensors(folder)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}'])
    def test_index_that_is_none(self, folder, text):
        (folder / "model.safetensors.index.json").write_text(text)
        with pytest.raises(WeightsError, match=r"index\.json"):
            FileTensors(folder)

    def test_two_models_without_an_index(self, tmp_path):
        for name in ("one", "two"):
            write_tensors(tmp_path / f"{name}.safetensors", STATE)
        with pytest.raises(WeightsError, match=r"several models .*one\.safetensors"):
            FileTensors(tmp_path)


@pytest.mark.parametrize("shards", ["5GB", "20KB"])
@pytest.mark.parametrize("build", [transformer_model, t5_model])
def test_variants_as_their_libraries_save_them(build, shards, tmp_path):
    """`variant="fp16"`: model.fp16.safetensors, or model.safetensors.index.fp16.json and shards."""
    network = build()
    network.save_pretrained(tmp_path, variant="fp16", max_shard_size=shards)
    assert holds_network(tmp_path)
    found, state = FileTensors(tmp_path), network.state_dict()
    assert all(torch.equal(found[name], state[name]) for name in found)
    assert len(found) >= len(state) - 1  # a tied embedding is written once
    (index,) = tmp_path.glob("*.index.*") if shards == "20KB" else (None,)
    if index is not None:
        index.rename(tmp_path / index.name.replace("fp16", "bf16"))
        assert len(FileTensors(tmp_path)) == len(found)
        (tmp_path / index.name).write_bytes(
            (tmp_path / index.name.replace("fp16", "bf16")).read_bytes()
        )
        assert "several variants of a model" in the_line(WeightsError, tmp_path)


class TestLinks:
    def test_of_the_cache_of_hugging_face(self, tmp_path):
        """Its snapshots are links to blobs of other names, two folders up."""
        snapshot = tmp_path / "models--x--y" / "snapshots" / "abc" / "transformer"
        blobs = tmp_path / "models--x--y" / "blobs"
        snapshot.mkdir(parents=True)
        blobs.mkdir()
        write_tensors(blobs / "0123", STATE)
        (snapshot / "model.safetensors").symlink_to("../../../blobs/0123")
        assert equal(FileTensors(snapshot), STATE)

    def test_out_of_the_folder(self, tmp_path, file):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "model.safetensors").symlink_to(file)
        with pytest.raises(WeightsError, match=r"model\.safetensors: leads out of its folder"):
            FileTensors(tmp_path / "folder")
        assert equal(FileTensors(tmp_path / "folder" / "model.safetensors"), STATE)  # named itself

    @pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", 3])
    def test_index_that_leads_out(self, tmp_path, file, shard):
        (tmp_path / "folder").mkdir()
        index = tmp_path / "folder" / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"a.weight": shard}}))
        with pytest.raises(WeightsError, match="is not the name of a file beside it"):
            FileTensors(tmp_path / "folder")


def lied(entry: str, data: int = 4, name: str = "a") -> bytes:
    content = f'{{"{name}":{entry}}}'.encode()
    return len(content).to_bytes(8, "little") + content + bytes(data)


@pytest.mark.parametrize(
    "content",
    [
        lied('{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}'),
        lied('{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}'),
        lied('{"dtype":"F32","shape":[1],"data_offsets":[4,0]}'),
        lied('{"dtype":"F32","shape":[1],"data_offsets":[4,8]}', 8),  # a hole before it
        lied('{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}'),
        lied(
            '{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            '"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
        ),
        lied('{"dtype":"F32","shape":[281474976710656],"data_offsets":[0,4]}'),
        lied('{"dtype":"F32","shape":[0,99999999999,99999999999],"data_offsets":[0,0]}', 0),
    ],
)
def test_a_header_that_lies(file, content):
    file.write_bytes(content)
    assert "damaged" in the_line(WeightsError, file)


@pytest.mark.parametrize("padding", range(8))
def test_tensors_need_not_be_aligned(file, padding):
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' + b" " * padding
    numbers = torch.tensor([1.5, -2.5])
    file.write_bytes(len(header).to_bytes(8, "little") + header + numbers.numpy().tobytes())
    assert torch.equal(FileTensors(file)["a"], numbers)


def test_a_dtype_that_is_not_known_is_no_damage(file):
    header = b'{"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}'
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"x")
    assert "a: dtype 'F4' is not known here" in the_line(WeightsError, file)
