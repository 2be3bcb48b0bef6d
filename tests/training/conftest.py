import pytest

from synthetic import disc_sprites


@pytest.fixture(scope="session")
def sprites():
    return disc_sprites()
