"""Shapes in signatures are checked while the tests run, and only then."""

from jaxtyping import install_import_hook

_hook = install_import_hook(
    ["flux1.model", "flux1.flow", "flux1.pipeline", "flux1.training"], "shapes.check"
)
