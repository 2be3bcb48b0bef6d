"""Can a stranger, or somebody with one key, stop the service?

    python benchmarks/attack.py --cases 5000 --examples 250

Raw sockets send what no client sends, many at once: broken, slow, half-closed, torn and huge
requests, each kind from one function of `KINDS`. Then schemathesis asks what the OpenAPI document
allows and forbids. The server is watched: no answer 500, nothing that its event loop works on for
more than 200 ms, no memory that stays.
"""

import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import httpx2
import typer

from flux1.settings import ServerSettings
from flux1.store.open import open_store
from measure.machine import about
from measure.processes import resident_mib, served
from measure.results import RESULTS, Label, Out, result_path, write_result

LONGEST_MS, GROWTH_MIB = 200, 64
AT_ONCE = 48
JSON_PATHS = ("/v1/images/generations", "/v1/tiny")
PATHS = (
    "/", "/login", "/signup", "/keys", "/verify", "/gallery", "/v1/models", "/v1/models/x", "/v1/x",
    "/v1/requests", "/v1/usage.csv", "/v1/pictures/x.png", "/v1/get_result?id=x", "/v1/verify",
    "/metrics", "/health/ready", "/openapi.json", "/static/app.css", *JSON_PATHS,
)  # fmt: skip
ODD = (
    b"\0", b"\xff", b"\r\n", b"\xed\xa0\x80", b"%00", b"../" * 40, b"\xef\xbf\xbd", b"9" * 5_000,
    b"'; DROP TABLE jobs; --", b"{{7*7}}", b"\\" * 2_000, b'"' * 999, b"%", b"-1", b"1e999", b"NaN",
)  # fmt: skip


def request(
    rng: random.Random, key: str, path: str, body: bytes = b"", kind: bytes = b"application/json",
    more: bytes = b"", method: bytes | None = None,
) -> bytes:  # fmt: skip
    """A request that is as it should be; mostly with a key."""
    named = b"x-key: %s\r\n" % key.encode() if rng.random() < 0.8 else b""
    length = b"Content-Type: %s\r\nContent-Length: %d\r\n" % (kind, len(body)) if body else b""
    first = b"%s %s HTTP/1.1\r\nHost: a\r\n" % (
        method or (b"POST" if body else b"GET"),
        path.encode(),
    )
    return first + named + length + more + b"\r\n" + body


def plain(rng: random.Random, key: str) -> bytes:
    body = json.dumps({"prompt": "a fox", "steps": 1, "width": 32, "height": 32}).encode()
    return request(rng, key, rng.choice(PATHS), body if rng.random() < 0.5 else b"")


def mutated(rng: random.Random, key: str) -> bytes:
    """Some bytes are others."""
    data = bytearray(plain(rng, key))
    for _ in range(rng.randint(1, 12)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def noise(rng: random.Random, key: str) -> bytes:
    return rng.randbytes(rng.randint(1, 4_000))


def odd_fields(rng: random.Random, key: str) -> bytes:
    """JSON whose fields are of every type but theirs."""
    values = [None, True, -1, 0, 1.5, 1e308, 2**63, 10**400, "", "x", "\0", "\ud800", [], {}, [[]]]
    names = [
        "prompt", "n", "size", "seed", "steps", "guidance", "model", "stream", "user", "width",
        "height", "quality", "aspect_ratio", "image_size", "loras", "webhook_url", "x" * 99,
    ]  # fmt: skip
    fields = {rng.choice(names): rng.choice(values) for _ in range(rng.randint(1, 9))}
    body = json.dumps({"prompt": "a", **fields}).encode()
    return request(rng, key, rng.choice(JSON_PATHS), body)


def odd_json(rng: random.Random, key: str) -> bytes:
    """Deep, long, doubled, endless, in other codecs."""
    size = rng.choice([10, 1_000, 100_000])
    body = rng.choice([
        b"[" * size, b'{"a":' * size, b'{"seed":' + b"1" * size + b"}",
        b'{"prompt":"a","guidance":0.' + b"1" * size + b"}",
        b"{" + b",".join(b'"f%d":1' % k for k in range(size // 10)) + b"}",
        b"{" + b",".join([b'"prompt":"a"'] * (size // 12 + 1)) + b"}",
        b'{"prompt":"' + b"\\ud800" * (size // 6) + b'"}', b'{"prompt":"' + b"\xff" * size + b'"}',
        b'{"prompt":"' + "\ufdfa".encode() * min(size, 30_000) + b'"}',
        '{"prompt":"a"}'.encode("utf-16"), b'{"' + b"n" * size + b'":1}', b"[]" * size, b"",
    ])  # fmt: skip
    return request(rng, key, rng.choice(JSON_PATHS), body)


def odd_form(rng: random.Random, key: str) -> bytes:
    """Forms in other codecs, with endless or broken boundaries."""
    charset = rng.choice([b"", b"; charset=punycode", b"; charset=undefined", b"; charset=idna"])
    size = rng.choice([1, 100, 10_000])
    part = b'--b\r\nContent-Disposition: form-data; name="email"\r\n\r\n'
    body = rng.choice([
        part + b"1" * size + b"\r\n--b--\r\n", (part + b"\r\n") * min(size, 900) + b"--b--",
        b"--b" + b"\r\n--b" * size, part * 3, b"--b\r\n" + b"a: b\r\n" * size + b"\r\n\r\n--b--",
        part.replace(b"email", rng.choice(ODD)) + b"x\r\n--b--", rng.randbytes(size),
    ])  # fmt: skip
    kind = b"multipart/form-data; boundary=b" + charset
    if rng.random() < 0.3:
        body = b"&".join([b"email=%s" % rng.choice(ODD)] * rng.choice([1, 50, 5_000]))
        kind = b"application/x-www-form-urlencoded" + charset
    return request(rng, key, rng.choice(["/login", "/signup", "/verify", "/keys"]), body, kind)


def odd_head(rng: random.Random, key: str) -> bytes:
    """Headers that lie, repeat, or have no end."""
    more = rng.choice([
        b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Upgrade: websocket\r\nConnection: upgrade\r\n",
        b"Expect: 100-continue\r\nContent-Length: 9\r\n",
        b"Host: " + rng.choice(ODD)[:200] + b"\r\n",
        b'Cookie: a="' + b'\\"' * 7_000 + b'"\r\n', b"Cookie: " + b"a=b; " * 3_000 + b"\r\n",
        b"X: y\r\n" * rng.choice([50, 500]),
        b"X: " + b"y" * rng.choice([1_000, 70_000]) + b"\r\n",
        b"Content-Encoding: gzip\r\nContent-Length: 2\r\n",
        b"Idempotency-Key: " + b"k" * 300 + b"\r\n",
        b"X-Stainless-Read-Timeout: nan\r\n",
        b"Accept: text/html\r\nAuthorization: Bearer \xff\r\n",
        b"Origin: http://[\r\nSec-Fetch-Site: x\r\n",
        b"X-Forwarded-For: " + b"1, " * 3_000 + b"\r\n",
        b'Content-Type: application/json; a="' + b";" * 9_000 + b"\r\nContent-Length: 2\r\n",
    ])  # fmt: skip
    method = rng.choice(
        [b"GET", b"POST", b"PUT", b"BREW", b"OPTIONS", b"HEAD", b"DELETE", b"G" * 900]
    )
    return request(rng, key, rng.choice(PATHS), more=more, method=method) + rng.choice([b"", b"{}"])


def odd_path(rng: random.Random, key: str) -> bytes:
    path = rng.choice(PATHS).encode() + rng.choice([b"/", b"?a=", b"?days=", b"/../", b"?before="])
    return b"GET %s%s HTTP/1.1\r\nHost: a\r\nx-key: %s\r\n\r\n" % (
        path,
        rng.choice(ODD),
        key.encode(),
    )


def chunks(rng: random.Random, key: str) -> bytes:
    """Bodies in pieces: tiny, broken, without an end."""
    head = request(
        rng, key, rng.choice(PATHS), more=b"Transfer-Encoding: chunked\r\n", method=b"POST"
    )
    return head + rng.choice([
        b"1\r\nx\r\n" * rng.choice([1, 100, 20_000]), b"fffffffffffffff\r\n", b"-1\r\n", b"zz\r\n",
        b"2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n",
        b"2;" + b"e" * 9_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"0\r\n" + b"a: b\r\n" * 500 + b"\r\n",
    ])  # fmt: skip


def pipelined(rng: random.Random, key: str) -> bytes:
    return plain(rng, key) * rng.choice([2, 20, 300])


def pictures(rng: random.Random, key: str) -> bytes:
    """Pictures to verify, torn into pieces or cut off."""
    piece = struct.pack(">I", 1) + b"tEXtx" + struct.pack(">I", zlib.crc32(b"tEXtx"))
    many = rng.choice([1, 1_000, 60_000])
    body = rng.choice([
        b"\x89PNG\r\n\x1a\n" + piece * many, b"\xff\xd8" + b"\xff\xfe\x00\x02" * many,
        b"\xff\xd8" + b"\xff" * many, b"RIFF\0\0\0\0WEBP" + b"EXIF\0\0\0\0" * many,
        b"\x89PNG\r\n\x1a\n" + rng.randbytes(many), rng.randbytes(many),
    ])  # fmt: skip
    return request(rng, key, "/v1/verify", body, b"image/png")


KINDS: tuple[Callable[[random.Random, str], bytes], ...] = (
    plain, mutated, noise, odd_fields, odd_json, odd_form, odd_head, odd_path, chunks, pipelined,
    pictures,
)  # fmt: skip


def send(url: str, data: bytes, rng: random.Random) -> set[int]:
    """Send it whole, in drops, cut off or half-closed; the statuses that came back."""
    place = urlsplit(url)
    said, answer_s = b"", 3
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        try:
            way = rng.random()
            if way < 0.1:
                data = data[: rng.randrange(len(data)) + 1]
            if way < 0.2:
                for drop in (data[k : k + 7] for k in range(0, min(len(data), 140), 7)):
                    connection.sendall(drop)
            else:
                connection.sendall(data)
            if way < 0.4:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(answer_s)
            while more := connection.recv(65_536):
                said += more
                if len(said) > 2**24:
                    break
        except OSError:  # cut off by the server, or nothing more to come
            pass
    return {int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", said)}


def fuzz(url: str, key: str, cases: int, seed: int) -> dict[str, Counter[int]]:
    """Send so many cases, several at once; how each kind was answered (0: not at all)."""

    def case(number: int) -> tuple[str, set[int]]:
        rng = random.Random(f"{seed} {number}")
        kind = KINDS[number % len(KINDS)]
        return kind.__name__, send(url, kind(rng, key), rng) or {0}

    answers: dict[str, Counter[int]] = {kind.__name__: Counter() for kind in KINDS}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, statuses in pool.map(case, range(cases)):
            answers[name].update(statuses)
    return answers


def event_loop_ms(url: str) -> dict[str, int]:
    """The server's event loop, as it says itself: its longest pause, and the most that it computed
    itself in one go; the rest of a pause is the machine's, where others work on it."""
    text = httpx2.get(f"{url}/metrics", timeout=30).text
    found = re.findall(r"^flux1_event_loop_longest_(\w+)_seconds (\S+)$", text, re.MULTILINE)
    return {name: round(float(seconds) * 1000) for name, seconds in found}


def ask_what_is_documented(url: str, key: str, examples: int, folder: Path) -> dict[str, object]:
    """schemathesis, all of its checks; its own summary."""
    config = '[checks]\npositive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404"]\n'
    (folder / "schemathesis.toml").write_text(config)
    command = [shutil.which("schemathesis") or "", "run", f"{url}/openapi.json", "--checks", "all"]
    done = subprocess.run(
        [*command, "--header", f"Authorization: Bearer {key}", "--max-examples", str(examples),
         "--no-color", "--continue-on-failure", "--seed", "1"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    counted = re.search(r"([\d,]+) generated", done.stdout)
    failed = [line.strip() for line in done.stdout.splitlines() if line.startswith("- ")]
    return {
        "exit": done.returncode,
        "cases": int(counted[1].replace(",", "")) if counted else None,
        "failures": failed[:20],
        "said": done.stdout[-3000:] if done.returncode else "",
    }


def main(
    cases: Annotated[int, typer.Option(help="Of the raw sockets.")] = 5_000,
    examples: Annotated[
        int, typer.Option(help="schemathesis's, for each operation; 0: none.")
    ] = 500,
    seed: Annotated[int, typer.Option(help="Of the cases.")] = 0,
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Attack a server of the tiny model, watch it, write what was seen."""
    machine = about()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = open_store(ServerSettings(data=folder))
        account = store.accounts.register("attack@example.com", "only for this run")
        _, key = store.keys.create(account.id, "attack")
        store.close()
        with served(folder, "--model", "tiny", "--device", "cpu") as server:
            url, pid = server.base_url.removesuffix("/v1"), server.process.pid
            warm = fuzz(url, key, cases // 5, seed + 1)
            before, began = resident_mib(pid), time.monotonic()
            answers = fuzz(url, key, cases - cases // 5, seed)
            seconds, after = time.monotonic() - began, resident_mib(pid)
            fuzzed = event_loop_ms(url)
            documented = ask_what_is_documented(url, key, examples, folder) if examples else {}
            in_all = event_loop_ms(url)
        log_mib = (folder / "server.log").stat().st_size / 2**20
    figures = {
        "raw_socket_cases": cases,
        "seconds": round(seconds, 1),
        "answers": {kind: dict(sorted((warm[kind] + answers[kind]).items())) for kind in answers},
        "event_loop_longest_ms": {"raw sockets": fuzzed, "all": in_all},
        "load_average": os.getloadavg(),
        "resident_mib": {"after a fifth": before, "after all": after},
        "log_mib": round(log_mib, 2),
        "schemathesis": documented,
    }
    print(json.dumps(figures, indent=1))
    write_result(result_path("attack", label, out), machine, figures)
    if 500 in {
        status for counted in (warm, answers) for kind in counted.values() for status in kind
    }:
        raise SystemExit("an answer was 500")
    if in_all["work"] > LONGEST_MS or (after or 0) - (before or 0) > GROWTH_MIB:
        raise SystemExit("the event loop paused for too long, or memory grew")
    if documented.get("exit"):
        raise SystemExit("schemathesis found something")


if __name__ == "__main__":
    typer.run(main)
