"""The service's own secret, made on first start. There is no default."""

import os
import re
import secrets
from pathlib import Path

from flux1.errors import StoreError


def load_secret(folder: Path) -> str:
    """The 256 bits of `folder/secret` in hex; made, readable by its owner alone, if missing.

    StoreError if the file holds anything else.
    """
    target = folder / "secret"
    if not target.exists():
        _write_new(target, secrets.token_hex(32))
    secret = target.read_text("ascii", errors="replace").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", secret):
        raise StoreError(f"{target}: is not 64 hexadecimal digits; restore it, or remove it")
    return secret


def _write_new(target: Path, secret: str) -> None:
    beside = target.with_name(f".secret-{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(beside, target)  # unlike a rename, it never replaces what another start made
    except FileExistsError:
        pass
    finally:
        beside.unlink()
