"""GGUF: every block type against the library's own decoder, and headers that lie."""

import struct

import gguf
import numpy as np
import pytest
import torch

from flux1.errors import WeightsError
from flux1.weights.files.gguf import GgufTensors

ROWS = 3


def decodable() -> list[str]:
    """The types that the library decodes, told by trying each on a block of zeros."""
    found = []
    for kind, (numbers, size) in gguf.GGML_QUANT_SIZES.items():
        try:
            gguf.quants.dequantize(np.zeros((1, size), dtype=np.uint8), kind)
        except NotImplementedError:
            continue
        assert numbers
        found.append(kind.name)
    return found


def write(file, tensors, arch="flux", **fields):
    writer = gguf.GGUFWriter(file, arch)
    for name, value in fields.items():
        writer.add_string(f"general.{name}", value)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    for name, (packed, kind) in tensors.items():
        writer.add_tensor(name, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize("name", decodable())
def test_every_type_is_decoded_as_the_library_does(name, tmp_path):
    kind = gguf.GGMLQuantizationType[name]
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (ROWS, 2 * size), dtype=np.uint8)
    with np.errstate(all="ignore"):
        expected = torch.from_numpy(gguf.quants.dequantize(packed, kind).copy()).reshape(ROWS, -1)
    assert expected.shape == (ROWS, 2 * numbers)
    tensors = GgufTensors(
        write(tmp_path / "x.gguf", {"first": (packed, kind), "w": (packed, kind)})
    )
    stored = tensors.stored["w"]
    assert (stored.dtype, stored.shape, stored.size) == (name, (ROWS, 2 * numbers), packed.nbytes)
    assert torch.equal(tensors["w"].float().nan_to_num(7), expected.float().nan_to_num(7))


def test_metadata(tmp_path):
    packed = np.zeros((2, 3), dtype=np.float32)
    tensors = GgufTensors(
        write(tmp_path / "x.gguf", {"w": (packed, gguf.GGMLQuantizationType.F32)}, name="thing")
    )
    assert tensors.version == 3
    assert tensors.metadata["general.architecture"] == "flux"
    assert tensors.metadata["general.name"] == "thing"
    assert tensors.metadata["tokenizer.ggml.tokens"] == "2 values"


def test_writing_to_a_tensor_leaves_the_file_alone(tmp_path):
    packed = np.ones((2, 3), dtype=np.float32)
    file = write(tmp_path / "x.gguf", {"w": (packed, gguf.GGMLQuantizationType.F32)})
    GgufTensors(file)["w"].zero_()
    assert torch.equal(GgufTensors(file)["w"], torch.ones(2, 3))


def header(tensors=0, pairs=0, version=3, rest=b""):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def text(word):
    return struct.pack("<Q", len(word)) + word


def line(name=b"w", dims=(4,), kind=0, offset=0):
    sizes = struct.pack(f"<{len(dims)}Q", *dims)
    return text(name) + struct.pack("<I", len(dims)) + sizes + struct.pack("<IQ", kind, offset)


LIES = {
    "short": (b"GGUF", "truncated"),
    "counts": (header(2**60, 2**60), "claims"),
    "version": (header(version=1), "version 1 is not known"),
    "big-endian": (header(version=0x03000000), "big-endian"),
    "key": (header(pairs=1, rest=struct.pack("<Q", 2**60) + bytes(40)), "damaged header"),
    "value": (header(pairs=1, rest=text(b"k") + struct.pack("<I", 99) + bytes(20)), "type 99"),
    "array": (
        header(pairs=1, rest=text(b"k") + struct.pack("<IIQ", 9, 8, 2**50) + bytes(20)),
        "array of",
    ),
    "numbers": (
        header(pairs=1, rest=text(b"k") + struct.pack("<IIQ", 9, 10, 2**61) + bytes(20)),
        "truncated",
    ),
    "nested": (
        header(pairs=1, rest=text(b"k") + struct.pack("<I", 9) + 9 * struct.pack("<IQ", 9, 1)),
        "arrays in arrays",
    ),
    "alignment": (
        header(pairs=1, rest=text(b"general.alignment") + struct.pack("<II", 4, 3)),
        "power of two",
    ),
    "utf-8": (header(pairs=1, rest=text(b"\xff") + struct.pack("<II", 4, 3) + bytes(9)), "damaged"),
    "dimensions": (header(1, rest=line(dims=(1,) * 9)), "9 dimensions"),
    "type": (header(1, rest=line(kind=4242) + bytes(64)), "type 4242 is not known"),
    "blocks": (header(1, rest=line(dims=(33,), kind=2) + bytes(64)), "not whole blocks"),
    "size": (header(1, rest=line(dims=(2**40, 2**40)) + bytes(64)), "truncated"),
    "nothing": (header(1, rest=line(dims=(2**60, 2**60, 0)) + bytes(64)), "claims a shape of"),
    "nothing of 64 bits": (
        header(1, rest=line(dims=(32, 2**64 - 1, 0), kind=2) + bytes(64)),
        "claims a shape of",
    ),
    "twice": (header(2, rest=line() + line() + bytes(64)), "there twice"),
    "shared": (
        header(9, rest=b"".join(line(bytes([97 + i]), dims=(64,)) for i in range(9)) + bytes(288)),
        "shares its bytes",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies(lie, tmp_path):
    content, said = LIES[lie]
    file = tmp_path / "x.gguf"
    file.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        GgufTensors(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_type_that_cannot_be_decoded(tmp_path):
    """Q8_K exists only between the steps of llama.cpp's arithmetic."""
    file = tmp_path / "x.gguf"
    file.write_bytes(header(1, rest=line(dims=(256,), kind=15) + bytes(320)))
    with pytest.raises(WeightsError, match="w: type Q8_K cannot be decoded"):
        GgufTensors(file)["w"]
