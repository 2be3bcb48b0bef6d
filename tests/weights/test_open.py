"""Any file by its first bytes; and thousands of damaged ones: read, or refused in one line."""

import json
import math
import random
import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from flux1.errors import MissingWeightsError, WeightsError
from flux1.weights.files.dtypes import DTYPES
from flux1.weights.files.gguf import GgufTensors
from flux1.weights.files.open import open_tensors
from flux1.weights.files.pickles import PickleTensors
from flux1.weights.files.safetensors import FileTensors, write_tensors

STATE = {"a.weight": torch.arange(64.0).reshape(2, 32), "b": torch.ones(3, dtype=torch.bfloat16)}
WORDS = (b"9" * 30, b"-1", b"[[", b'"a', b"{}", b"\xff\xfe")
ABSURD = (0, 1, 2**15, 2**31 - 1, 2**32, 2**60, 2**63 - 1, 2**64 - 1)


def safetensors(file: Path) -> None:
    write_tensors(file, STATE, {"about": "a test"})


def gguf_file(file: Path) -> None:
    writer = gguf.GGUFWriter(file, "flux")
    writer.add_array("numbers", [1, 2, 3])
    writer.add_array("words", ["one", "two"])
    for name, kind in (("q", "Q4_0"), ("f", "F16"), ("k", "Q8_0")):
        of = gguf.GGMLQuantizationType[kind]
        packed = gguf.quants.quantize(np.ones((2, 32), dtype=np.float32), of)
        writer.add_tensor(name, packed, raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def pickle_file(file: Path) -> None:
    torch.save(STATE, file)


WRITERS = {
    "safetensors": (safetensors, FileTensors, 2000),
    "GGUF": (gguf_file, GgufTensors, 2000),
    "pickle": (pickle_file, PickleTensors, 500),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_first_bytes_tell(kind, tmp_path):
    write, reader, _ = WRITERS[kind]
    write(tmp_path / "no-suffix")
    assert isinstance(open_tensors(tmp_path / "no-suffix"), reader)


def test_absent(tmp_path):
    with pytest.raises(MissingWeightsError, match="none"):
        open_tensors(tmp_path / "none.gguf")


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """One to three wounds: other bytes, an absurd number, a piece cut out, doubled, or the end."""
    found = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, max(1, min(len(found), 700))))
        match rng.integers(0, 6):
            case 0:
                found[at : at + 1] = rng.bytes(1)
            case 1:
                found[at : at + 8] = int(rng.choice(np.array(ABSURD, dtype=np.uint64))).to_bytes(
                    8, "little"
                )
            case 2:
                found[at : at + int(rng.integers(1, 9))] = b""
            case 3:
                found[at:at] = found[at : at + int(rng.integers(1, 40))]
            case 4:
                del found[int(rng.integers(0, len(found) + 1)) :]
            case 5:
                found[at : at + 2] = rng.choice(WORDS)
    return bytes(found)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_is_one_line_and_costs_no_memory(kind, tmp_path):
    write, _, cases = WRITERS[kind]
    write(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    rng = np.random.default_rng(0)
    file = tmp_path / "damaged"
    refused: list[str] = []
    for case in range(cases):
        if case == cases // 10:  # what is imported on first use is not counted
            tracemalloc.start()
        file.write_bytes(damaged(whole, rng))
        try:
            read_all(file)
        except WeightsError as failure:
            refused.append(str(failure))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(refused) > cases / 4
    assert not [said for said in refused if "\n" in said or str(file) not in said]
    assert peak < 20 * len(whole) + 2_000_000


def read_all(file: Path) -> None:
    tensors = open_tensors(file)
    for name in tensors:
        assert tensors[name].shape == tensors.stored[name].shape


SIDES = (0, 0, 1, 2, 3, 32, 256, 2**20, 2**31, 2**47, 2**48, 2**60, 2**63 - 1, 2**64 - 1)


def lying_safetensors(rng: random.Random) -> bytes:
    """A header that is well-formed JSON, and hardly anything that it says is so."""
    header: dict = {"__metadata__": {"k": "v"}} if rng.random() < 0.3 else {}
    at = 0
    for number in range(rng.randint(1, 4)):
        shape = [rng.choice((*SIDES, -1, 1.5, True, None)) if rng.random() < 0.3
                 else rng.choice(SIDES[:5]) for _ in range(rng.randint(0, 5))]  # fmt: skip
        word = rng.choice(("F32", "BF16", "F8_E4M3", "I64", "BOOL", "F4", "U8"))
        try:
            size = math.prod(shape) * DTYPES[word].itemsize
        except (KeyError, TypeError):
            size = 4
        end = at + size if rng.random() < 0.9 else rng.choice(SIDES)
        header[f"t{number}"] = {"dtype": word, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    length = len(text) if rng.random() < 0.95 else rng.choice(ABSURD)
    return length.to_bytes(8, "little") + text + bytes(min(max(int(at), 0), 4096))


def lying_gguf(rng: random.Random) -> bytes:
    """Counts, keys, sizes and types of a GGUF file, each of them sometimes a lie."""

    def count(honest: int) -> int:
        return honest if rng.random() < 0.97 else rng.choice(ABSURD)

    def text(word: bytes) -> bytes:
        return struct.pack("<Q", count(len(word))) + word

    def value(nesting: int = 0) -> bytes:
        kind = rng.choice((0, 4, 5, 6, 7, 8, 9, 10, 12, 99))
        if kind == 9 and nesting < 6:
            inner = [value(nesting + 1) for _ in range(rng.randint(0, 3))]
            return struct.pack("<IIQ", 9, rng.choice((4, 8, 9)), count(len(inner))) + b"".join(
                inner
            )
        return struct.pack("<I", kind) + (text(b"word") if kind == 8 else bytes(8))

    keys = [text(rng.choice((b"k", b"general.alignment", b"\xff"))) + value()
            for _ in range(rng.choice((0, 0, 0, 1, 3)))]  # fmt: skip
    tensors, offset = [], 0
    for number in range(rng.randint(1, 4)):
        sides = [rng.choice(SIDES if rng.random() < 0.2 else SIDES[:7])
                 for _ in range(rng.randint(0, 4))]  # fmt: skip
        kind = rng.choice((0, 0, 1, 2, 8, 12, 14, 24, 30, 77))
        tensors.append(
            text(b"t%d" % number)
            + struct.pack("<I", count(len(sides)) % 2**32)
            + struct.pack(f"<{len(sides)}Q", *sides)
            + struct.pack("<IQ", kind, count(offset))
        )
        offset += min(math.prod(sides) * 4, 4096) // 32 * 32 + 32
    head = b"GGUF" + struct.pack("<IQQ", 3, count(len(tensors)), count(len(keys)))
    return head + b"".join(keys) + b"".join(tensors) + bytes(min(offset, 16_384))


@pytest.mark.parametrize("lying", [lying_safetensors, lying_gguf])
def test_thousands_of_lies_are_refused_and_what_is_read_is_no_larger_than_the_file(lying, tmp_path):
    """Decoded, a block of the densest type takes 21 times its bytes."""
    rng, file, read = random.Random(0), tmp_path / "x", 0
    refused: list[str] = []
    for _ in range(3000):
        content = lying(rng)
        file.write_bytes(content)
        try:
            tensors = open_tensors(file)
            kept = sum(one.size for one in tensors.stored.values())
            whole = sum(t.numel() * t.element_size() for t in map(tensors.__getitem__, tensors))
        except WeightsError as failure:
            refused.append(str(failure))
            continue
        read += 1
        assert kept <= len(content)
        assert whole <= 21 * len(content)
    assert min(len(refused), read) > 300
    assert not [said for said in refused if "\n" in said]
    assert all(str(file) in said or "cannot be decoded" in said for said in refused)


def test_a_header_that_nests_deeply(tmp_path):
    file = tmp_path / "x.safetensors"
    content = b'{"a":' + b"[" * 200_000
    file.write_bytes(len(content).to_bytes(8, "little") + content)
    with pytest.raises(WeightsError, match="header is damaged"):
        open_tensors(file)


def test_a_shape_of_a_million_sides(tmp_path):
    file = tmp_path / "x.safetensors"
    sides = ",".join(["9999"] * 1_000_000)
    content = b'{"a":{"dtype":"F32","shape":[%b],"data_offsets":[0,4]}}' % sides.encode()
    file.write_bytes(len(content).to_bytes(8, "little") + content + bytes(4))
    with pytest.raises(WeightsError, match="header is damaged"):
        open_tensors(file)


@pytest.mark.parametrize("name", ["x.safetensors", "x.gguf", "x.ckpt"])
def test_an_empty_file(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="is empty; download it again"):
        open_tensors(tmp_path / name)


def test_what_is_no_file_is_not_called_missing():
    with pytest.raises(WeightsError, match="is neither a file nor a folder"):
        open_tensors(Path("/dev/null"))
