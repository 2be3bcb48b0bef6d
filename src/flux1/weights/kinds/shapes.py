"""Questions to the shapes of a network's tensors."""

import re
from collections.abc import Mapping

from flux1.errors import WeightsError
from flux1.weights.kinds.kind import Part

Shape = tuple[int, ...]


def shapes_of(part: Part) -> dict[str, Shape]:
    """The shape of each tensor, by its name in the file."""
    return {name: tensor.shape for name, tensor in part.tensors.stored.items()}


def matrix(shapes: Mapping[str | None, Shape] | Mapping[str, Shape], name: str) -> Shape:
    """The shape of a module's weight. WeightsError as below."""
    return shape_of(shapes, f"{name}.weight", 2)


def shape_of(shapes: Mapping, name: str, dimensions: int) -> Shape:
    """A tensor's shape. WeightsError if it is missing, or of another number of dimensions."""
    shape = shapes.get(name)
    if shape is None:
        raise WeightsError(f"missing {name}")
    if len(shape) != dimensions or 0 in shape:
        raise WeightsError(f"{name} has the shape {shape}")
    return shape


def count_blocks(shapes: Mapping, stem: str) -> int:
    """Return how many numbered blocks there are under `stem`."""
    pattern = re.compile(rf"{re.escape(stem)}\.(\d+)\.")
    return len({found[1] for name in shapes if name and (found := pattern.match(name))})
