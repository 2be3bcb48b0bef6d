"""The upscaler as a graph: pixels in [0, 1] of any size to `scale` times the sides."""

import numpy as np

from flux1.export.graph import FLOAT, Graph
from flux1.model.config import UpscalerConfig
from flux1.model.upscaler import COLOURS


def write_upscaler(graph: Graph, config: UpscalerConfig) -> None:
    """`pixels` to `enlarged`."""
    pixels = graph.input("pixels", "batch", COLOURS, "rows", "columns").to(graph.type)
    x, scale = pixels, config.scale
    for layer in range(config.convolutions + 2):
        name = f"body.{2 * layer}"
        weights = graph.weight(f"{name}.weight"), graph.weight(f"{name}.bias")
        x = graph.node("Conv", x, *weights, pads=(1,) * 4)
        slopes = f"body.{2 * layer + 1}.weight"
        if graph.has(slopes):
            x = graph.node("PRelu", x, graph.weight(slopes, shape=(-1, 1, 1)))
    repeated = graph.node(
        "Resize",
        pixels,
        None,
        graph.constant(np.array([1, 1, scale, scale], np.float32), FLOAT),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    shuffled = graph.node("DepthToSpace", x, blocksize=scale, mode="CRD")
    graph.output("enlarged", shuffled + repeated, "batch", COLOURS, "height", "width")
