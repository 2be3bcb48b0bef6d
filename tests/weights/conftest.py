import pytest

from synthetic import make_diffusers_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tiny FLUX.1 with guidance, as diffusers and transformers save it. Not to be changed."""
    return make_diffusers_folder(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="session")
def folder_without_guidance(tmp_path_factory):
    return make_diffusers_folder(tmp_path_factory.mktemp("flux-fast"), guidance=False)
