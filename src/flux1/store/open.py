"""Everything that is kept, opened as the settings say."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from flux1.errors import StoreError
from flux1.settings import ServerSettings
from flux1.store.accounts import Accounts
from flux1.store.database import Database
from flux1.store.images import Pictures
from flux1.store.keys import Keys
from flux1.store.requests import Requests
from flux1.store.secret import load_secret
from flux1.store.usage import Usage
from flux1.store.webhooks import Deliveries

LEAST_FREE_BYTES = 64 * 2**20  # on the data folder's disk, for work to be taken


@dataclass(frozen=True)
class Store:
    database: Database
    accounts: Accounts
    keys: Keys
    requests: Requests
    usage: Usage
    deliveries: Deliveries
    pictures: Pictures
    secret: str
    folder: Path

    def troubles(self) -> list[str]:
        """Return which parts do not answer, or are full; nothing of where they are. Blocks."""
        found = []
        for what, probe in (
            ("the database", self.database.probe),
            ("the pictures' place", self.pictures.probe),
        ):
            try:
                probe()
            except StoreError:
                found.append(f"{what} does not answer")
        free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE_BYTES:
            found.append(f"{free // 2**20} MiB are left on the disk")
        return found

    def close(self) -> None:
        self.database.close()


def open_store(settings: ServerSettings) -> Store:
    """Make the data folder if it is missing, open what is in it, upgrade the database.

    StoreError if anything of it cannot be used.
    """
    data = settings.data.expanduser()
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = load_secret(data)
    except OSError as error:
        raise StoreError(f"data {data}: {error.strerror}") from None
    pictures = Pictures.open(settings.pictures or data / "pictures")
    inside = URL.create("sqlite", database=str(data / "flux1.db"))
    database = Database.open(settings.database or inside)
    database.upgrade()
    return Store(
        database=database,
        accounts=Accounts(database),
        keys=Keys(database),
        requests=Requests(database),
        usage=Usage(database),
        deliveries=Deliveries(database),
        pictures=pictures,
        secret=secret,
        folder=data,
    )
