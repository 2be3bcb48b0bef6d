"""Passwords that are hashed quickly. Argon2 is slow on purpose; with its least memory and one pass
it does all the same."""

from collections.abc import Iterator

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

recommended = PasswordHash.recommended  # what the service uses


def quick() -> PasswordHash:
    return PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Every account of these tests; store/test_accounts.py has what the service really uses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PasswordHash, "recommended", quick)
        yield
