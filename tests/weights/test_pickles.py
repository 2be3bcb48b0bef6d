"""Pickles: tensors are read, programs are not run."""

import os
import pickle
import zipfile

import pytest
import torch

from flux1.errors import WeightsError
from flux1.weights.files.pickles import PickleTensors

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
