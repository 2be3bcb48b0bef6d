"""Counts the pieces that a picture file is made of.

Readers take each piece of a file in hand, so a file torn into millions of them keeps a reader busy
for minutes though it is small. The frame is walked here first, in C's time or in few steps.
"""

import re
import struct
from collections.abc import Iterator

from flux1.errors import OutputError

MOST_PIECES = 8_192  # 32 MiB in the pieces of 4 KiB that the most cautious writers make
MOST_BESIDES_PIXELS = 4 * 2**20  # profiles, texts, credentials
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # in a JPEG's scans
_Piece = tuple[int, bool]  # its size, and whether it holds pixels


def check_structure(data: bytes) -> None:
    """OutputError for a PNG, JPEG or WebP file of more or larger pieces than pictures have."""
    besides = 0
    for number, (size, pixels) in enumerate(_pieces(data)):
        besides += 0 if pixels else size
        if number >= MOST_PIECES:
            raise OutputError(f"file: is made of more than {MOST_PIECES} pieces")
        if besides > MOST_BESIDES_PIXELS:
            raise OutputError(
                f"file: holds more than {MOST_BESIDES_PIXELS // 2**20} MiB besides its pixels"
            )


def _pieces(data: bytes) -> Iterator[_Piece]:
    if data.startswith(b"\x89PNG"):
        return _png(data)
    return _jpeg(data) if data.startswith(b"\xff\xd8") else _webp(data)


def _png(data: bytes) -> Iterator[_Piece]:
    place = 8
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        yield size, kind in (b"IDAT", b"fdAT")
        place += 12 + size


def _webp(data: bytes) -> Iterator[_Piece]:
    place = 12
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        yield size, kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
        place += 8 + size + size % 2


def _jpeg(data: bytes) -> Iterator[_Piece]:
    place = 2
    while place + 4 <= len(data):
        marker, size = struct.unpack_from(">HH", data, place)
        if not 0xFFC0 <= marker <= 0xFFFE or size < 2:
            raise OutputError(f"file: has no JPEG segment at byte {place}")
        yield size, False
        place += 2 + size
        if marker == 0xFFDA:  # pixels from here on, and whatever stands between them
            yield from ((2, True) for _ in _MARKER.finditer(data, place))
            return
