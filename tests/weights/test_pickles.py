"""Pickles: tensors are read, programs are not run."""

import os
import pickle
import zipfile
from collections import Counter

import pytest
import torch

from confined import confined
from flux1.errors import WeightsError
from flux1.weights.files.pickles import PickleTensors, read_pickle

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
def test_tensors_are_read(tmp_path, wrap):
    torch.save(wrap(STATE), tmp_path / "x.ckpt")
    found = PickleTensors(tmp_path / "x.ckpt")
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    assert found.stored["b"].dtype == "BF16"


class Program:
    """Unpickled without care, it makes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_program_is_not_run(tmp_path):
    torch.save({"a": torch.ones(2), "b": Program(tmp_path / "ran")}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"x\.pt: this pickle holds more than tensors") as caught:
        PickleTensors(tmp_path / "x.pt")
    assert "mkdir" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # it would have run


def test_old_pickles_and_other_zips_are_refused(tmp_path):
    file = tmp_path / "x.bin"
    file.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(WeightsError, match="before torch"):
        PickleTensors(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    with pytest.raises(WeightsError, match="no checkpoint of torch's"):
        PickleTensors(file)


def test_a_tensor_that_claims_more_than_the_file_has(tmp_path):
    torch.save({"a": torch.ones(1).expand(10**9)}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="a claims 4000000000 bytes"):
        PickleTensors(tmp_path / "x.pt")


def test_something_else_than_tensors_by_name(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="a pickle of a list"):
        PickleTensors(tmp_path / "x.pt")


def archive(file, program):
    """A file as torch.save makes it, with this pickle in it."""
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("x/data.pkl", b"\x80\x02" + program + b".")
        out.writestr("x/data/0", bytes(64))
    return file


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX%sX\x03\x00\x00\x00cpuK\x10tQ"
DOUBLED = b")q\x00" + b"".join(  # a tuple of twice the tuple before
    b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(100)
)
LISTS = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(100))
HOSTILE = {
    "a format in a key": STORAGE % b"\x0d\x00\x00\x00%4000000000d\x00",
    "a memory of 2**31 places": b"}r\x00\x00\x00\x80K\x01",
    "a storage made on the spot": b"ctorch\nFloatStorage\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R",
    "bytes made on the spot": b"c__builtin__\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R",
    "a slow codec": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x08\x00\x00\x00punycode\x86R",
    "a key that is hashed for ever": DOUBLED + b"}h\x64K\x01s",
    "a list that is walked for ever": LISTS + b"}X\x01\x00\x00\x00ah\x64s",
    "a number of many digits": b"\x8b\xff\xff\xff\x7f",
    "a tree that is too deep": b"]" * 100_000 + b"a" * 99_999,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_step_of_a_hostile_pickle_takes_memory_or_time(tmp_path, name):
    file = archive(tmp_path / "x.pt", HOSTILE[name])
    outcome = confined(lambda: PickleTensors(file))
    assert outcome.kind == "refused", outcome
    assert "x.pt" in outcome.said


def test_everything_that_torch_reads_of_a_training_is_read(tmp_path):
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    w = torch.arange(12.0).reshape(3, 4)
    saved = {
        "turned": w.T, "a part": w[1:], "state_dict_": layer.state_dict(),
        "parameter": torch.nn.Parameter(w), "optimizer": optimizer.state_dict(),
        "fp8": w.to(torch.float8_e4m3fn), "uint16": torch.ones(2, dtype=torch.uint16),
        "one": torch.ones(()), "none": torch.zeros(0, 3), "counted": Counter({1: 2}),
        "a set": {1, 2}, "a size": w.shape, "numbers": (10**20, 2.5, None, True, "words"),
    }  # fmt: skip
    torch.save(saved, tmp_path / "x.pt")
    for mapped in (True, False):
        found = read_pickle(tmp_path / "x.pt", mapped)
        assert_close(found, torch.load(tmp_path / "x.pt"))


def assert_close(found, wanted):
    if isinstance(wanted, torch.Tensor):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert torch.equal(found.double(), wanted.double())
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_close(found[key], value)
    else:
        assert found == wanted
