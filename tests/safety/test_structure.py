"""Small files that are made to be slow: their frame is refused before a reader sees it."""

import io
import struct
import zlib

import pytest
from PIL import Image

from flux1.errors import OutputError
from flux1.safety.credentials import Credentials
from flux1.safety.provenance import parse_recipe
from flux1.safety.structure import MOST_PIECES, check_structure


def saved(format: str, side: int = 700, **options) -> bytes:
    buffer = io.BytesIO()
    noise = Image.effect_noise((side, side), 80).convert("RGB")
    noise.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG, JPEG, WEBP = (saved(format, 16) for format in ("PNG", "JPEG", "WEBP"))
MANY = MOST_PIECES + 1
SLOW = {
    "png chunks": PNG[:33] + chunk(b"tEXt", b"a\0b") * MANY + PNG[33:],
    "png empty pixels": PNG[:33] + chunk(b"IDAT") * MANY + PNG[33:],
    "png texts": PNG[:33] + chunk(b"zTXt", bytes(2**20)) * 5 + PNG[33:],
    "jpeg segments": JPEG[:2] + b"\xff\xfe\x00\x02" * MANY + JPEG[2:],
    "jpeg fill bytes": JPEG[:2] + b"\xff" * 10**6 + JPEG[2:],
    "jpeg nothing": JPEG[:2] + b"\xff\x00" * 10**6 + JPEG[2:],
    "jpeg scans": JPEG[:-2] + b"\xff\xfe\x00\x02" * MANY + JPEG[-2:],
    "webp chunks": WEBP[:12] + b"EXIF\0\0\0\0" * MANY + WEBP[12:],
}


@pytest.mark.parametrize("data", SLOW.values(), ids=SLOW.keys())
def test_a_file_torn_into_pieces_is_refused_by_its_frame(tmp_path, data):
    with pytest.raises(OutputError, match=r"file: (is made of|holds|has no)"):
        check_structure(data)
    report = Credentials.open(tmp_path).verify(data)
    assert not report.found
    assert report.problems[0].startswith("file: ")


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True, "restart_marker_blocks": 1}),
        ("WEBP", {"lossless": True}), ("WEBP", {}),
    ],
)  # fmt: skip
def test_what_writers_write_passes(format, options):
    check_structure(saved(format, **options))


def test_exif_entries_that_each_copy_all_of_it_are_not_followed():
    entries, size = 16_000, 2**20
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", entries)
    exif += b"".join(struct.pack("<HHII", 40_000 + k, 7, size // 2, 8) for k in range(entries))
    data = PNG[:33] + chunk(b"eXIf", exif.ljust(size, b"\0")) + PNG[33:]
    check_structure(data)
    with pytest.raises(OutputError, match="EXIF data is too long"):
        parse_recipe(data)
