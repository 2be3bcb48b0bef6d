"""Shapes in signatures are checked while the tests run, and only then."""

import gc

from jaxtyping import install_import_hook

_hook = install_import_hook(
    ["flux1.model", "flux1.flow", "flux1.pipeline", "flux1.training"], "shapes.check"
)


def pytest_collection_finish():
    """What is imported by now stays: the collector need not look through it again and again, as it
    would whenever networks leave memory."""
    gc.freeze()
