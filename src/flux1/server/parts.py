"""The rooms that a running server is joined from."""

from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from flux1.errors import UnknownModelError, nearest
from flux1.safety.credentials import Credentials
from flux1.safety.pictures import PicturePolicy
from flux1.safety.prompts import PromptPolicy
from flux1.server.ports import Engine, Model
from flux1.server.tracing import Tracing
from flux1.settings import ServerSettings
from flux1.store.lease import Lease
from flux1.store.open import Store


@dataclass(frozen=True)
class Parts:
    """Everything that routes use, made once in `cli/serve.py` (or in a test)."""

    settings: ServerSettings
    engine: Engine
    store: Store
    prompts: PromptPolicy
    pictures: PicturePolicy
    credentials: Credentials
    tracing: Tracing = field(default_factory=Tracing)
    lease: Lease | None = None

    def model(self, name: str) -> Model:
        """The loaded model of that name or alias (UnknownModelError with the nearest one)."""
        table = {alias.lower(): m for m in self.engine.models.values() for alias in m.names}
        if name.lower() not in table:
            known = ", ".join(sorted(table))
            raise UnknownModelError(
                f"model: {name[:100]!r} is not served here{nearest(name[:100].lower(), table)}; "
                f"known: {known}"
            )
        return table[name.lower()]

    @property
    def default_model(self) -> Model:
        return next(iter(self.engine.models.values()))


def parts_of(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)
