"""A whole service over real parts: SQLite in a folder, the tiny model, a server on a free port."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from flux1.cli.serve import Placed, join
from flux1.server.app import create_app
from flux1.server.connections import ConnectionLimits, serve_app
from flux1.server.parts import Parts
from flux1.settings import ServerSettings
from flux1.store.accounts import Account

EMAIL, PASSWORD = "first@example.com", "a long enough password"
structlog.configure(
    processors=[structlog.processors.KeyValueRenderer()],
    logger_factory=structlog.ReturnLoggerFactory(),
)


def settings_in(folder: Path) -> ServerSettings:
    """Pictures are not classified: random weights draw noise."""
    return ServerSettings(
        data=folder / "data", picture_classifier="none", private_webhooks=True,
        requests_per_minute=10_000,
    )  # fmt: skip


@contextlib.contextmanager
def joined(settings: ServerSettings, memory: str | None = None) -> Iterator[Parts]:
    """The rooms of a service, whose networks come and go where `memory` is named."""
    aliases, place = ["gpt-image-1=tiny", "flux-dev=tiny"], Placed("cpu", memory=memory)
    parts = join(settings, ["tiny"], aliases, False, False, place)
    try:
        yield parts
    finally:
        parts.engine.close(0)
        parts.store.close()


@contextlib.contextmanager
def serving(parts: Parts, limits: ConnectionLimits | None = None) -> Iterator[str]:
    """The application on a free port of this machine; gives its address once it answers."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = serve_app(create_app(parts), limits or ConnectionLimits())
    started, startup = threading.Event(), server.startup

    async def tell(sockets=None):
        await startup(sockets)
        started.set()

    server.startup = tell
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        assert started.wait(60)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


@dataclass(frozen=True)
class Running:
    """A served application, an account, and a key of it."""

    url: str
    parts: Parts
    account: Account
    key: str

    @property
    def account_id(self) -> str:
        return self.account.id


def newcomer(parts: Parts, url: str, email: str) -> Running:
    account = parts.store.accounts.register(email, PASSWORD)
    _, secret = parts.store.keys.create(account.id, "test")
    return Running(url, parts, account, secret)
