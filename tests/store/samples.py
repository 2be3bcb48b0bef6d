"""Rows to try the store with, and threads that use it at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flux1.store.requests import NewPicture, NewRequest

PASSWORD = "correct horse battery"


def new_request(account_id: str, id: str = "req_1", **changes: Any) -> NewRequest:
    asked: dict[str, Any] = {
        "id": id,
        "account_id": account_id,
        "key_id": None,
        "api": "openai",
        "asynchronous": False,
        "asked_model": "flux-dev",
        "model": "flux-mini",
        "model_hash": "0f" * 32,
        "prompt": "a red fox",
        "parameters": {"seed": 2**62, "guidance": 3.5, "negative_prompt": "été"},
        "output": {"format": "png"},
        "request_id": f"http_{id}",
        "body_hash": "ab" * 32,
    }
    return NewRequest(**asked | changes)


def new_picture(id: str = "img_1", index: int = 0, **changes: Any) -> NewPicture:
    made: dict[str, Any] = {
        "id": id,
        "index": index,
        "seed": 2**63 - 1,
        "width": 1024,
        "height": 512,
        "media_type": "image/png",
        "size_bytes": 1234,
        "sha256": "cd" * 32,
        "expires": None,
    }
    return NewPicture(**made | changes)


def race(threads: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work(k)` returned or raised in each of several threads that begin together."""
    start = threading.Barrier(threads)

    def run(k: int) -> Any:
        start.wait()
        try:
            return work(k)
        except Exception as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
