"""Forms as browsers send them, read in time that is linear in their size.

The sender chooses neither codec nor parser: text is UTF-8, the number of fields is bounded, and
whatever else comes is refused (Problem 400, 415).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from fastapi import Request

from flux1.server.problems import Problem

MOST_FIELDS = 64
LONGEST_BOUNDARY = 70  # RFC 2046, 5.1.1
LONGEST_PART_HEADER = 4096
_PARAMETER = re.compile(r';\s*([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))')
_DISPOSITION = re.compile(rb"content-disposition:([^\r\n]*)", re.IGNORECASE)


@dataclass(frozen=True)
class File:
    """A file that was chosen in a form."""

    name: str
    data: bytes


class Fields:
    """The fields of a form, in its order; a name may come more than once."""

    def __init__(self, pairs: Sequence[tuple[str, str | File]] = ()) -> None:
        self._pairs = pairs

    def texts(self, name: str) -> list[str]:
        return [value for known, value in self._pairs if known == name and isinstance(value, str)]

    def text(self, name: str) -> str:
        """A field's text; '' where it is missing or is a file."""
        return next(iter(self.texts(name)), "")

    def file(self, name: str) -> File | None:
        files = (value for known, value in self._pairs if known == name)
        return next((value for value in files if isinstance(value, File)), None)


async def read_fields(request: Request) -> Fields:
    """The form that a request brings; empty where it brings JSON or nothing."""
    return parse(request.headers.get("content-type", ""), await request.body())


def parse(content_type: str, body: bytes) -> Fields:
    """The fields of a body of that content type."""
    kind = content_type.partition(";")[0].strip().lower()
    parameters = _parameters(content_type)
    charset = parameters.get("charset", "utf-8").lower()
    if charset not in ("utf-8", "utf8"):
        raise _unsupported(f"charset: {charset[:40]!r} is not read; send utf-8")
    match kind:
        case "application/x-www-form-urlencoded":
            return Fields(_urlencoded(body))
        case "multipart/form-data":
            boundary = parameters.get("boundary", "").encode("latin-1", "replace")
            return Fields([_field(piece) for piece in _pieces(body, boundary)])
        case "application/json" | "":
            return Fields()
        case _:
            raise _unsupported(f"a form of the type {kind[:100]!r} is not read")


def _urlencoded(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except UnicodeDecodeError:
        raise _broken("holds bytes that are not UTF-8") from None
    except ValueError:
        raise _broken(f"has more than {MOST_FIELDS} fields") from None


def _pieces(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """Return the parts between a multipart body's boundaries (RFC 7578), from its first byte on."""
    if not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise _broken(f"has no boundary of 1 to {LONGEST_BOUNDARY} bytes")
    frame = b"\r\n--" + boundary
    if not body.startswith(frame[2:]):
        raise _broken("does not begin with its boundary")
    place = len(frame) - 2
    for _ in range(MOST_FIELDS + 1):
        if body.startswith(b"--", place):
            return
        end = body.find(frame, place)
        if end < 0:
            raise _broken("breaks off: its last boundary is missing")
        yield body[place:end]
        place = end + len(frame)
    raise _broken(f"has more than {MOST_FIELDS} fields")


def _field(piece: bytes) -> tuple[str, str | File]:
    end = piece.find(b"\r\n\r\n", 0, LONGEST_PART_HEADER)
    found = _DISPOSITION.search(piece, 0, max(end, 0))
    if not found:
        raise _broken("has a part without Content-Disposition")
    data = piece[end + 4 :]
    try:
        parameters = _parameters(found[1].decode())
        name = parameters.get("name", "")
        if "filename" in parameters:
            return name, File(parameters["filename"], data)
        return name, data.decode()
    except UnicodeDecodeError:
        raise _broken("holds text that is not UTF-8") from None


def _parameters(header: str) -> dict[str, str]:
    """The `; name=value` of a header; of a name that comes twice, the first."""
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(header):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
    return found


def _broken(why: str) -> Problem:
    return Problem(400, f"the form {why}", "invalid_form")


def _unsupported(why: str) -> Problem:
    return Problem(415, why, "unsupported_media_type")
