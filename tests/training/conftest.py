import pytest

from synthetic import disc_sprites, ellipse_drawings


@pytest.fixture(scope="session")
def sprites():
    return disc_sprites()


@pytest.fixture(scope="session")
def drawings():
    return ellipse_drawings()
