"""Hugging Face's site in small: a server on this machine that answers the same paths."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1000  # bytes from which a file is kept in LFS
Files = Mapping[str, bytes]


def git_hash(content: bytes) -> str:
    """Git's name for a file of this content."""
    return sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(ThreadingHTTPServer):
    """`repositories` are name to files, `gated` those that need a permission nobody has, `asked`
    the requests so far: method, path, range. `breaks`: after how many bytes of the next large files
    the connection breaks off; `failing` files get an error, `spoiled` ones have other bytes."""

    def __init__(self, repositories: Mapping[str, Files], gated: tuple[str, ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repositories, self.gated = repositories, gated
        self.asked: list[tuple[str, str, str | None]] = []
        self.breaks: list[int] = []
        self.failing: set[str] = set()
        self.spoiled: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub(repositories: Mapping[str, Files], gated: tuple[str, ...] = ()) -> Iterator[Hub]:
    server = Hub(repositories, gated)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Answers(BaseHTTPRequestHandler):
    """The questions that the library asks: may I, which commit, which files, one file."""

    server: Hub

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlsplit(self.path).path
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        repository = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        files = self.server.repositories.get(repository)
        if repository in self.server.gated:
            return self.answer(403, {"X-Error-Code": "GatedRepo"})
        if files is None:
            return self.answer(404, {"X-Error-Code": "RepoNotFound"})
        if parts[0] != "api":
            return self.file("/".join(parts[4:]), files["/".join(parts[4:])])
        kind = parts[4] if len(parts) > 4 else "info"
        if kind == "auth-check":
            return self.answer(200, {})
        if kind == "revision" and parts[5] != "main":
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        if kind in ("info", "revision"):
            return self.answer(200, {}, json.dumps({"id": repository, "sha": COMMIT}).encode())
        listed = [_line(name, content) for name, content in files.items()]
        return self.answer(200, {}, json.dumps(listed).encode())

    def file(self, name, content):
        digest = _line(name, content)
        etag = digest["lfs"]["oid"] if "lfs" in digest else digest["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if name in self.server.failing and self.command == "GET":
            return self.answer(500, {})
        if name in self.server.spoiled:
            content = bytes(len(content))
        asked = self.headers.get("Range")
        if asked is None or self.command == "HEAD":
            return self.answer(200, headers, content)
        start = int(asked.removeprefix("bytes=").split("-")[0])
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.answer(206, headers, content[start:])

    def answer(self, status, headers, content=b""):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "GET":
            return
        if self.server.breaks and "ETag" in headers and len(content) >= LARGE:
            content = content[: self.server.breaks.pop(0)]
            self.close_connection = True
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def _line(name: str, content: bytes) -> dict:
    line = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
    if len(content) >= LARGE:
        digest = sha256(content).hexdigest()
        line["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return line
