"""Services to call: one for each test, or one that a module's tests share."""

import itertools
import ssl
from collections.abc import Iterator
from functools import cache

import httpx2 as httpx
import pytest

from flux1 import FluxPipeline
from flux1.server.parts import Parts
from flux1.settings import ServerSettings
from passwords import quick_passwords
from service import EMAIL, PASSWORD, Running, joined, newcomer, serving, settings_in
from store.databases import fresh_databases
from visitor import Visitor

__all__ = ["quick_passwords"]


@pytest.fixture(scope="session", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """Every client reads the machine's certificates when it is made, and most tests make one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def tiny() -> FluxPipeline:
    return FluxPipeline.from_pretrained("tiny")


@pytest.fixture
def settings(tmp_path) -> ServerSettings:
    return settings_in(tmp_path)


@pytest.fixture
def parts(settings) -> Iterator[Parts]:
    with joined(settings) as made:
        yield made


@pytest.fixture
def running(parts) -> Iterator[Running]:
    """A service of the test's own; its account is the first one."""
    with serving(parts) as url:
        yield newcomer(parts, url, EMAIL)


@pytest.fixture(scope="module")
def service(tmp_path_factory, request) -> Iterator[tuple[Parts, str]]:
    """A service that a module's tests share, on SQLite or on what a module asks for (KINDS)."""
    folder = tmp_path_factory.mktemp("service")
    with fresh_databases(getattr(request, "param", "sqlite"), folder) as fresh, fresh() as database:
        settings = settings_in(folder).model_copy(update={"database": database})
        with joined(settings) as parts, serving(parts) as url:
            yield parts, url


_NUMBERS = itertools.count()


@pytest.fixture
def caller(service) -> Running:
    """An account of the test's own in the shared service."""
    return newcomer(*service, f"user{next(_NUMBERS)}@example.com")


@pytest.fixture
def visitor(service) -> Iterator[Visitor]:
    with httpx.Client(base_url=service[1], timeout=60) as client:
        yield Visitor(client)


@pytest.fixture
def member(caller: Running, visitor: Visitor) -> Visitor:
    """Somebody with an account of their own, signed in."""
    return visitor.enter(caller.parts, caller.account_id)


@pytest.fixture
def administrator(service) -> Iterator[Visitor]:
    parts, url = service
    accounts = parts.store.accounts
    account = accounts.find("root@example.com") or accounts.register(
        "root@example.com", PASSWORD, administrator=True
    )
    with httpx.Client(base_url=url, timeout=60) as client:
        yield Visitor(client).enter(parts, account.id)
