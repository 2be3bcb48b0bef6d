"""The pictures' bytes, in a folder or in an object store; and the links that show one."""

import hashlib
import hmac
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from flux1.errors import StoreError, nearest

SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_REMOTE = ("s3", "gs", "az")
_ID = re.compile(r"[a-z0-9_-]{1,128}")
_CLIENT: Any = {"allow_http": True}  # for whoever names an endpoint that speaks no TLS
_RETRIES: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}


class Pictures:
    """Bytes by id. All methods raise StoreError if the place does not answer or refuses."""

    def __init__(self, store: ObjectStore, place: str, folder: Path | None = None) -> None:
        """`folder` is where a local store keeps its files."""
        self._store = store
        self._place = place
        self._folder = folder

    @classmethod
    def open(
        cls, url_or_folder: str | Path, options: Mapping[str, Any] | None = None
    ) -> "Pictures":
        """A local folder, made if missing, `file:///folder`, or `s3://bucket/prefix`.

        S3's credentials, region and endpoint come from the usual AWS variables; `options` (such
        as `endpoint`, `access_key_id`) go before them. Nothing is sent yet: see `check`.
        """
        place = str(url_or_folder)
        with _translated(place):
            scheme = urlsplit(place).scheme if "://" in place else "file"
            if isinstance(url_or_folder, Path) or "://" not in place:
                return cls._in_folder(Path(place).expanduser(), place)
            if scheme == "file":
                return cls._in_folder(Path(unquote(urlsplit(place).path)), place)
            if scheme not in _REMOTE:
                near = nearest(scheme, _REMOTE) or "; write a folder or s3://bucket/prefix"
                raise StoreError(f"pictures {place}: {scheme!r} is not known{near}")
            config: Any = dict(options or {})
            store = from_url(place, config=config, client_options=_CLIENT, retry_config=_RETRIES)
            return cls(store, place)

    @classmethod
    def _in_folder(cls, folder: Path, place: str) -> "Pictures":
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(LocalStore(folder), place, folder)

    def check(self) -> None:
        """Write and delete an empty object: what is wrong shows now and not with a picture."""
        with _translated(self._place):
            self._store.put("check", b"")
            self._store.delete("check")

    def probe(self) -> None:
        """Ask for what is not there: StoreError if the place does not answer."""
        with _translated(self._place), suppress(FileNotFoundError):
            self._store.head("check")
        if self._folder is not None and not os.access(self._folder, os.W_OK | os.X_OK):
            raise StoreError(f"pictures {self._place}: cannot be written")

    def put(self, picture_id: str, data: bytes, media_type: str) -> None:
        """Store a picture, whole or not at all; one of that id is replaced."""
        path = _path(picture_id, media_type)
        with _translated(self._place):
            if self._folder is None:
                self._store.put(path, data, use_multipart=False)
            else:
                _write_private(self._folder / path, data)

    def get(self, picture_id: str, media_type: str) -> bytes | None:
        """None if there is no such picture."""
        with _translated(self._place):
            for path in _paths(picture_id, media_type):
                with suppress(FileNotFoundError):
                    return bytes(self._store.get(path).bytes())
        return None

    def delete(self, picture_id: str, media_type: str) -> None:
        """Nothing happens if there is no such picture."""
        with _translated(self._place):
            for path in _paths(picture_id, media_type):
                with suppress(FileNotFoundError):
                    self._store.delete(path)


class LinkSigner:
    """Links that anybody may open until they expire."""

    def __init__(self, secret: str) -> None:
        self._key = hmac.digest(secret.encode(), b"flux1 picture link", "sha256")

    def sign(self, picture_id: str, expires: datetime) -> str:
        """The query string `exp=<Unix time>&sig=<hex>`."""
        until = int(expires.timestamp())
        return f"exp={until}&sig={self._signature(picture_id, until)}"

    def check(self, picture_id: str, exp: str, sig: str, now: datetime) -> bool:
        """Return whether `exp` and `sig` are what `sign` gave for this picture, and are still
        good."""
        if not re.fullmatch(r"[0-9]{1,12}", exp):
            return False
        genuine = self._signature(picture_id, int(exp)).encode()
        same = hmac.compare_digest(genuine, sig.encode("utf-8", "replace"))
        return same and now.timestamp() < int(exp)

    def _signature(self, picture_id: str, until: int) -> str:
        message = f"{picture_id}\n{until}".encode("utf-8", "replace")
        return hmac.digest(self._key, message, "sha256").hex()


def _write_private(target: Path, data: bytes) -> None:
    """A file that its owner alone can read: whole, or not there at all, also on a full disk."""
    target.parent.mkdir(mode=0o700, exist_ok=True)
    beside = target.with_name(f".{target.name}-{token_hex(8)}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _paths(picture_id: str, media_type: str) -> tuple[str, str]:
    """Return where a picture lies, and where it lay before: by the end of its id, which is a
    number."""
    path = _path(picture_id, media_type)
    return path, f"{picture_id[-2:]}/{path.partition('/')[2]}"


def _path(picture_id: str, media_type: str) -> str:
    if not _ID.fullmatch(picture_id):
        raise StoreError(f"picture id {picture_id!r}: is not 1 to 128 of a-z, 0-9, _ and -")
    if media_type not in SUFFIXES:
        raise StoreError(f"media type {media_type!r}: is not one of {', '.join(SUFFIXES)}")
    shelf = hashlib.sha256(picture_id.encode()).hexdigest()[:2]  # no folder grows long
    return f"{shelf}/{picture_id}.{SUFFIXES[media_type]}"


@contextmanager
def _translated(place: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        # the first line is the reason; the library's state follows it
        reason = str(error).partition("\n")[0]
        raise StoreError(f"pictures {place}: {reason}") from error
