"""A graph and its weights to a file, one tensor in memory at a time."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from onnx import StringStringEntryProto, TensorProto
from torch import Tensor

from flux1.errors import WeightsError
from flux1.export.graph import Graph, Initializer
from flux1.weights.files.safetensors import beside

DATA = "backbone.onnx_data"  # as the published models call it
EXTERNAL_ABOVE = 2**24  # bytes of weights that are read with the graph; more are mapped, quicker
ALIGNMENT = 4096  # of each tensor in the data file, so that it can be mapped


def weight_bytes(graph: Graph) -> int:
    """The bytes of all initializers that are made of the network's tensors."""
    return sum(form.size for weight in graph.weights.values() for form in weight.forms)


def write_graph(
    file: Path,
    graph: Graph,
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    advance: Callable[[int], None],
    external_above: int = EXTERNAL_ABOVE,
) -> list[Path]:
    """Write `file`, and large weights into a file beside it; both appear whole. Returns the files.

    `advance` is told the bytes of each tensor. OutputError if the place cannot be written;
    WeightsError, naming the tensor, for one that is of another shape or cannot be kept in 8 bits.
    """
    model = graph.finish(metadata)
    written = [file]
    if weight_bytes(graph) > external_above:
        written.append(file.with_name(DATA))
        with beside(written[-1]) as partial, partial.open("wb") as stream:
            for form, data in _made(graph, state):
                stream.seek(-(-stream.tell() // ALIGNMENT) * ALIGNMENT)
                model.graph.initializer.append(_outside(form, stream.tell()))
                stream.write(data.data)
                advance(form.size)
    else:
        for form, data in _made(graph, state):
            tensor = TensorProto(name=form.name, data_type=form.type, dims=form.shape)
            tensor.raw_data = data.tobytes()
            model.graph.initializer.append(tensor)
            advance(form.size)
    with beside(file) as partial:
        partial.write_bytes(model.SerializeToString())
    return written


def _made(graph: Graph, state: Mapping[str, Tensor]) -> Iterator[tuple[Initializer, np.ndarray]]:
    """Each initializer and its bytes, made when its turn comes."""
    for weight in graph.weights.values():
        for form, tensor in zip(weight.forms, weight.make(state[weight.source]), strict=True):
            if tuple(tensor.shape) != form.shape:
                raise WeightsError(
                    f"{weight.source}: is {tuple(tensor.shape)}, its place {form.shape}"
                )
            yield form, tensor.reshape(-1).view(torch.uint8).numpy()


def _outside(form: Initializer, offset: int) -> TensorProto:
    """An initializer whose bytes lie in the data file."""
    place = {"location": DATA, "offset": offset, "length": form.size}
    entries = [StringStringEntryProto(key=key, value=str(value)) for key, value in place.items()]
    return TensorProto(
        name=form.name,
        data_type=form.type,
        dims=form.shape,
        data_location=TensorProto.EXTERNAL,
        external_data=entries,
    )
