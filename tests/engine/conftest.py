import pytest

from flux1 import FluxPipeline


@pytest.fixture(scope="session")
def tiny():
    """Random weights of all the right shapes: needs no file, draws in milliseconds."""
    return FluxPipeline.from_pretrained("tiny")
