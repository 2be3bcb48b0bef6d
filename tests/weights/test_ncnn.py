"""ncnn's files, byte for byte as its documentation has them."""

import struct

import numpy as np
import pytest
import torch

from flux1.errors import WeightsError
from flux1.weights.files.ncnn import HALF, read_ncnn
from flux1.weights.upscaler import load_upscaler

PARAM = """7767517
4 4
Input            data   0 1 data
Convolution      conv   1 1 data a 0=3 1=3 4=1 5=1 6=27
PReLU            slopes 1 1 a b 0=3
PixelShuffle     wide   1 1 b out 0=1
"""
WEIGHT = np.arange(27).astype("<f2")
BIAS, SLOPES = np.array([0.5, -1, 2], "<f4"), np.array([0.1, 0.2, 0.3], "<f4")
DATA = (
    struct.pack("<I", 0x01306B47) + WEIGHT.tobytes() + b"\0\0" + BIAS.tobytes() + SLOPES.tobytes()
)


def test_layers_come_in_their_order():
    conv, slopes = read_ncnn(PARAM, DATA)
    assert conv["weight"].dtype == torch.float16
    np.testing.assert_array_equal(conv["weight"].numpy(), WEIGHT.reshape(3, 1, 3, 3))
    np.testing.assert_array_equal(conv["bias"].numpy(), BIAS)
    np.testing.assert_array_equal(slopes["weight"].numpy(), SLOPES)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DATA[:-1], "truncated: 12 bytes are wanted, 11 are left"),
        (DATA + b"\0" * 4, "4 bytes belong to layers that are not known"),
        (b"\0" * 4 + DATA[4:], f"begin with 0x00000000, float16 with {HALF:#010x}"),
    ],
)
def test_what_is_no_such_file_is_refused(data, message):
    with pytest.raises(WeightsError, match=message):
        read_ncnn(PARAM, data)


def test_another_networks_file_is_one_line(tmp_path):
    from safetensors.torch import save_file

    save_file({"body.0.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="is not the upscaler's file") as failure:
        load_upscaler(file=tmp_path / "x.safetensors")
    assert "\n" not in str(failure.value)
