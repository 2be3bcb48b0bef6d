"""All commands run as on a machine without weights."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def machine_without_weights(tmp_path_factory):
    """What the person who runs the tests has set or downloaded must not matter."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FLUX1_MODELS", "FLUX1_DEVICE", "FLUX1_DTYPE", "HF_HUB_CACHE"):
            patch.delenv(name, raising=False)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        yield
