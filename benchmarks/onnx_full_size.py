"""FLUX.1 [dev]'s transformer at full width as an ONNX graph, with random weights.

    python benchmarks/onnx_full_size.py FOLDER                          # 12 B, fp16: 24 GB of disk
    python benchmarks/onnx_full_size.py FOLDER --double 2 --single 2    # fewer blocks, 2 GB

Writes the graph as `flux1 export onnx` does, each tensor drawn when its turn comes, and says the
process's most memory at once; has ONNX's checker look at it; then runs a range of its blocks, cut
out of the file, beside torch's blocks with the same weights. Remove the folder afterwards.
"""

import hashlib
import json
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from onnx import TensorProto, helper
from torch import Tensor

import machine
from flux1.export.graph import TORCH, TYPES, Dtype, Graph
from flux1.export.transformer import write_transformer
from flux1.export.write import write_graph
from flux1.model.config import TransformerConfig
from flux1.model.patches import image_ids, text_ids
from flux1.model.rope import rope_table
from flux1.model.transformer import Transformer

ROWS, COLUMNS, TEXT = 4, 4, 8  # tokens of the run beside torch
LARGEST = {"fp32": 1e-4, "fp16": 2e-2}  # share of the largest number that may lie between the two


class Drawn(Mapping[str, Tensor]):
    """Weights that exist while they are looked at, the same each time."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes

    def __getitem__(self, name: str) -> Tensor:
        shape = self._shapes[name]
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
        tensor = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        if len(shape) > 1:
            return tensor.mul_(shape[1] ** -0.5)
        return tensor.mul_(0.02) if name.endswith("bias") else tensor.mul_(0.1).add_(1)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def main(
    folder: Path,
    double: Annotated[int, typer.Option(help="Double-stream blocks.")] = 19,
    single: Annotated[int, typer.Option(help="Single-stream blocks.")] = 38,
    dtype: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp16",
    label: Annotated[str, typer.Option(help="Added to the result file's name.")] = "",
) -> None:
    """Write, check, run a range."""
    kept: Dtype = "fp32" if dtype == "fp32" else "fp16"
    config = replace(TransformerConfig(), depth=double, depth_single_blocks=single)
    with torch.device("meta"):
        network = Transformer(config)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    state, file = Drawn(shapes), folder / "model.onnx"
    before, start = _peak(), time.perf_counter()
    graph = Graph("transformer", shapes, kept, opset=20)
    write_transformer(graph, config)
    written = write_graph(file, graph, state, {}, lambda _: None)
    result = {
        "machine": machine.about(),
        "dtype": kept,
        "blocks": [double, single],
        "numbers": sum(p.numel() for p in network.parameters()),
        "bytes": sum(path.stat().st_size for path in written),
        "largest_tensor_bytes": max(f.size for w in graph.weights.values() for f in w.forms),
        "write_s": round(time.perf_counter() - start, 1),
        "peak_mib_of_imports": before,
        "peak_mib": _peak(),
    }
    typer.echo(json.dumps(result, indent=1))
    onnx.checker.check_model(file, full_check=True)
    typer.echo("the checker has nothing against it")
    result["ranges"] = [
        _range(file, state, config, kept, "double_blocks", min(1, double - 1)),
        _range(file, state, config, kept, "single_blocks", min(1, single - 1)),
    ]
    typer.echo(json.dumps(result["ranges"], indent=1))
    for found in result["ranges"]:
        if found["largest"] > LARGEST[kept] * found["scale"]:
            raise SystemExit(f"{found['block']} differs from torch")
    machine.result_path("onnx-full-size", label).write_text(json.dumps(result, indent=1) + "\n")


@torch.no_grad()
def _range(
    file: Path, state: Drawn, config: TransformerConfig, dtype: Dtype, kind: str, number: int
) -> dict[str, object]:
    """One block between the values that enter and leave it, in ONNX Runtime and in torch."""
    name, before = f"{kind}.{number}", f"{kind}.{number - 1}"
    streams = (".img", ".txt") if kind == "double_blocks" else ("",)
    rng = np.random.default_rng(0)
    image, width = ROWS * COLUMNS, config.hidden_size
    tokens = {".img": image, ".txt": TEXT, "": TEXT + image}
    given = {
        f"{before}{stream}": rng.standard_normal((1, tokens[stream], width), np.float32)
        for stream in streams
    }
    told = {
        "pooled_projections": rng.standard_normal((1, config.vec_in_dim), np.float32),
        "timestep": np.float32([0.5]),
        "guidance": np.float32([3.5]),
        "img_ids": image_ids(ROWS, COLUMNS).numpy().astype(np.float32),
        "txt_ids": text_ids(TEXT).numpy().astype(np.float32),
    }
    outputs = [f"{name}{stream}" for stream in streams]
    part = _cut(file, {**given, **told}, list(given), outputs, TYPES[dtype])
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}
    half = np.float16 if dtype == "fp16" else np.float32
    inputs = {key: value.astype(half) for key, value in given.items()} | told
    ours = session.run(outputs, {key: value for key, value in inputs.items() if key in wanted})

    with torch.device("meta"):
        network = Transformer(config).eval()
    needed = [n for n in state if n.startswith((f"{name}.", "time_in", "guidance_in", "vector_in"))]
    rounded = {n: state[n].to(TORCH[TYPES[dtype]]).float() for n in needed}
    network.load_state_dict(rounded, strict=False, assign=True)
    pooled, t, scale = (
        torch.from_numpy(told[key]) for key in ("pooled_projections", "timestep", "guidance")
    )
    block = network.get_submodule(name)
    vec = network._vector(t, pooled, scale)
    ids = torch.cat([text_ids(TEXT), image_ids(ROWS, COLUMNS)])[None]
    rope = rope_table(ids, config.axes_dim, config.theta)
    x = [torch.from_numpy(value) for value in given.values()]
    theirs = block(*x, block.modulations(vec), rope)
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    pairs = list(zip(ours, (y.numpy() for y in theirs), strict=True))
    return {
        "block": name,
        "largest": max(float(np.abs(a.astype(np.float32) - b).max()) for a, b in pairs),
        "scale": max(float(np.abs(b).max()) for _, b in pairs),
        "peak_mib": _peak(),
    }


def _cut(
    file: Path, inputs: Mapping[str, np.ndarray], cut: list[str], outputs: list[str], type: int
) -> Path:
    """The part of a graph between these values as a file beside it, which shares its weights."""
    model = onnx.load(file, load_external_data=False)
    made_by = {name: node for node in model.graph.node for name in node.output}
    needed, names = set(), list(outputs)
    while names:
        name = names.pop()
        if name in made_by and name not in inputs and id(made_by[name]) not in needed:
            needed.add(id(made_by[name]))
            names += made_by[name].input
    nodes = [node for node in model.graph.node if id(node) in needed]
    used = {name for node in nodes for name in node.input}
    ends = [
        helper.make_tensor_value_info(name, type if name in cut else TensorProto.FLOAT, value.shape)
        for name, value in inputs.items()
        if name in used
    ]
    results = [helper.make_tensor_value_info(name, type, None) for name in outputs]
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(nodes, "part", ends, results, tensors)
    part = file.with_name(f"{outputs[0]}.onnx")
    onnx.save(helper.make_model(graph, opset_imports=model.opset_import), part)
    return part


def _peak() -> int:
    """Mebibytes of this process, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    typer.run(main)
