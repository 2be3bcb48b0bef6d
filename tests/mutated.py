"""Damaged, absurd and hostile versions of small files, the same ones for the same seed."""

import io
import json
import math
import random
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

DEEP = 100_000
HUGE = (2**31, 2**40, 2**63, 2**64 - 1)
ODD: tuple[Any, ...] = (
    None, True, False, "", "x", -1, 0, 1, 2, 0.5, 7, 2**31, 2**47, 2**63, 2**64 - 1, 2**100,
    10**4000, -(2**47), 1e-320, 1e308, math.nan, math.inf, -math.inf, [], {}, [[]], [None], [-1],
    [2**47], [2**47, 2**47], [0.5], {"x": 1}, {"": None}, "%4000000000d", "{:4000000000d}",
    "\x1b]0;x\x07\x1b[31m\n\r\x9b", "\ud800", "\x00", "\u202e", "../../../x", "/etc/x",
    "9" * 5000, "1e999", "a" * 300_000, ["a"] * 100_000, [[[[[[[[1]]]]]]]],
)  # fmt: skip


def json_versions(text: str, random: random.Random, added: tuple[str, ...] = ()) -> Iterator[bytes]:
    """Endless versions of a JSON file: a value replaced, a key gone or `added`, and the damages of
    any file."""
    while True:
        value = json.loads(text)
        places = list(_places(value))
        draw = random.random()
        if draw < 0.2:
            yield damaged(text.encode(), random)
            continue
        if draw < 0.25:
            yield _deep(text, random)
            continue
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            holder, key = random.choice(places)
            if isinstance(holder, dict) and added and random.random() < 0.5:
                holder[random.choice(added)] = random.choice(ODD)
            elif isinstance(holder, dict) and random.random() < 0.15:
                holder.pop(key, None)
            elif isinstance(holder, dict) and random.random() < 0.1:
                holder[random.choice([odd for odd in ODD if isinstance(odd, str)])] = 1
            else:
                try:
                    holder[key] = random.choice(ODD)
                except (IndexError, KeyError):
                    continue
        yield json.dumps(value if random.random() > 0.02 else random.choice(ODD)).encode()


def damaged(data: bytes, random: random.Random) -> bytes:
    """Bytes with some changed, cut off, repeated or put in."""
    changed = bytearray(data)
    at = random.randrange(len(changed) + 1)
    match random.randrange(5):
        case 0:
            del changed[at:]
        case 1:
            for _ in range(random.randint(1, 8)):
                changed[random.randrange(len(changed))] = random.choice((0, 255, 128, 1, 91, 34))
        case 2:
            changed[at:at] = random.randbytes(random.randint(1, 16))
        case 3:
            changed[at : at + 8] = struct.pack(
                "<Q", random.choice((2**31, 2**40, 2**63, 2**64 - 1))
            )
        case _:
            changed = changed[at:] + changed[:at]
    return bytes(changed)


def safetensors_versions(data: bytes, random: random.Random) -> Iterator[bytes]:
    """Endless versions of a safetensors file, its header above all."""
    length = int.from_bytes(data[:8], "little")
    for header in json_versions(data[8 : 8 + length].decode(), random):
        if random.random() < 0.2:
            yield damaged(data, random)
        else:
            header += b" " * (-len(header) % 8)
            yield len(header).to_bytes(8, "little") + header + data[8 + length :]


def zip_versions(data: bytes, random: random.Random) -> Iterator[bytes]:
    """Endless versions of what torch.save wrote: the pickle inside is damaged, or gets other words,
    or the archive is."""
    words = sorted(set(re.findall(rb"c[\w.]+\n\w+\n", _member(data))))
    while True:
        program = _member(data)
        draw = random.random()
        if draw < 0.15:
            yield damaged(data, random)
            continue
        if draw < 0.45 and words:
            other = random.choice(GLOBALS)
            program = program.replace(random.choice(words), other, 1)
        elif draw < 0.75:
            program = _with_text(program, random)
        else:
            program = damaged(program, random)
        yield _with_member(data, program)


GLOBALS = tuple(
    f"c{module}\n{name}\n".encode()
    for module, names in {
        "__builtin__": ("bytearray", "set", "eval", "complex"),
        "_codecs": ("encode",),
        "collections": ("Counter",),
        "os": ("system\x1b[31m",),
        "torch": ("Size", "device", "FloatStorage", "empty", "float32"),
        "torch._utils": ("_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage"),
        "torch._tensor": ("_rebuild_from_type_v2",),
        "torch.nn.parameter": ("Parameter",),
        "torch.storage": ("UntypedStorage",),
    }.items()
    for name in names
)


def _with_text(program: bytes, random: random.Random) -> bytes:
    """The pickle with one of its strings or numbers replaced."""
    found = list(re.finditer(rb"X(....)", program, re.DOTALL))
    found = [one for one in found if int.from_bytes(one[1], "little") < 200]
    numbers = list(re.finditer(rb"K.|M..", program, re.DOTALL))
    if found and random.random() < 0.6:
        one = random.choice(found)
        end = one.end() + int.from_bytes(one[1], "little")
        odd = random.choice([odd for odd in ODD if isinstance(odd, str)])
        text = odd.encode("utf-8", "surrogatepass")
        return program[: one.start()] + b"X" + struct.pack("<I", len(text)) + text + program[end:]
    one = random.choice(numbers)
    number = random.choice([odd for odd in ODD if isinstance(odd, int) and abs(odd) < 2**200])
    size = (int(number).bit_length() // 8) + 1
    value = b"\x8a" + bytes([size]) + int(number).to_bytes(size, "little", signed=True)
    return program[: one.start()] + value + program[one.end() :]


def _member(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        return archive.read(name)


def _with_member(data: bytes, program: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            content = program if member.filename.endswith("/data.pkl") else old.read(member)
            new.writestr(member.filename, content)
    return out.getvalue()


def text_versions(text: str, random: random.Random) -> Iterator[bytes]:
    """Endless versions of a text file whose values stand after `=`: TOML."""
    odd = (
        "nan", "inf", "-1", "0", str(2**47), str(2**63), "true", '"x"', "[]", "{}", "9" * 5000,
        '"\\u001b[31m"', "[" * 5000, f'"{"a" * 100_000}"', "1e308", "1979-05-27", "[[]]",
    )  # fmt: skip
    lines = text.splitlines()
    while True:
        if random.random() < 0.25:
            yield damaged(text.encode(), random)
            continue
        changed = list(lines)
        at = random.choice([i for i, line in enumerate(lines) if "=" in line])
        changed[at] = f"{changed[at].split('=')[0]}= {random.choice(odd)}"
        yield "\n".join(changed).encode()


def byte_versions(data: bytes, random: random.Random) -> Iterator[bytes]:
    """Endless versions of any file."""
    while True:
        yield damaged(data, random)


def _deep(text: str, random: random.Random) -> bytes:
    opened, closed = random.choice((("[", "]"), ('{"a":', "}")))
    deep = opened * DEEP + "1" + closed * DEEP
    values = list(re.finditer(r":\s*", text))
    at = random.choice(values).end() if values else 0
    return (text[:at] + deep + ("," if values else "") + text[at:]).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) of a JSON value, of long lists the first few."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs)[:200]:
        yield value, key
        if isinstance(inner, dict | list) and inner:
            yield from _places(inner)


Versions = Callable[[bytes, random.Random], Iterator[bytes]]
