"""FLUX.1 [dev]'s transformer at full size as an ONNX graph, with random weights.

    python benchmarks/onnx_full_size.py FOLDER                          # 12 B, fp32: Linux only
    python benchmarks/onnx_full_size.py FOLDER --double 2 --single 2    # fewer blocks

Writes the graph as `flux1 export onnx` does, each tensor made when its turn comes, and says the
process's most memory at once; has ONNX's checker look at it; then runs the range of blocks from
the last of two streams to the first of one, cut out of the file, beside torch's blocks with the
same weights. The blocks outside of the range have zeros, which are written like all else and then
given back to the disk as holes: of 48 GB, 3 stay. Remove the folder afterwards.
"""

import hashlib
import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from onnx import TensorProto, helper
from torch import Tensor

from flux1.export.graph import TORCH, TYPES, Dtype, Graph
from flux1.export.transformer import write_transformer
from flux1.export.write import ALIGNMENT, DATA, write_graph
from flux1.model.config import TransformerConfig
from flux1.model.patches import image_ids, text_ids
from flux1.model.rope import rope_table
from flux1.model.transformer import Transformer
from measure.machine import about
from measure.results import RESULTS, Label, Out, result_path, write_result

ROWS, COLUMNS, TEXT = 4, 4, 8  # tokens of the run beside torch
LARGEST = {"fp32": 1e-4, "fp16": 2e-2}  # share of the largest number that may lie between the two
HOLE = 2**20  # bytes of zeros that are worth one


class Drawn(Mapping[str, Tensor]):
    """Weights that exist while they are looked at: those whose names begin with one of `stems` are
    random numbers, the same each time, all others zeros."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], stems: tuple[str, ...]) -> None:
        self._shapes, self._stems = shapes, stems

    def drawn(self, name: str) -> bool:
        return name.startswith(self._stems)

    def __getitem__(self, name: str) -> Tensor:
        shape = self._shapes[name]
        if not self.drawn(name):
            return torch.zeros(shape)
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
    double: Annotated[int, typer.Option(help="Double-stream blocks, 2 or more.")] = 19,
    single: Annotated[int, typer.Option(help="Single-stream blocks.")] = 38,
    dtype: Annotated[str, typer.Option(help="fp32 or fp16.")] = "fp32",
    width: Annotated[int, typer.Option(help="Of the blocks, in heads of 128.")] = 3072,
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Write, check, run the range."""
    kept: Dtype = "fp32" if dtype == "fp32" else "fp16"
    machine, sizes = about(), {"hidden_size": width, "num_heads": width // 128}
    config = replace(TransformerConfig(), depth=double, depth_single_blocks=single, **sizes)
    with torch.device("meta"):
        network = Transformer(config)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    blocks = f"double_blocks.{double - 1}", "single_blocks.0"
    stems = (*(f"{block}." for block in blocks), "time_in.", "guidance_in.", "vector_in.")
    state, file = Drawn(shapes, stems), folder / "model.onnx"
    before, start = _peak(), time.perf_counter()
    graph = Graph("transformer", shapes, kept, opset=20)
    write_transformer(graph, config)
    written = write_graph(file, graph, state, {}, _holes(folder, graph, state))
    result: dict[str, Any] = {
        "dtype": kept,
        "blocks": [double, single],
        "numbers": sum(p.numel() for p in network.parameters()),
        "bytes": sum(path.stat().st_size for path in written),
        "bytes_on_disk": sum(512 * path.stat().st_blocks for path in written),
        "largest_tensor_bytes": max(f.size for w in graph.weights.values() for f in w.forms),
        "write_s": round(time.perf_counter() - start, 1),
        "peak_mib_of_imports": before,
        "peak_mib": _peak(),
    }
    typer.echo(json.dumps(result, indent=1))
    onnx.checker.check_model(file, full_check=True)
    result["checker"] = f"onnx {onnx.__version__}: full_check passed"
    found = _range(file, state, config, kept, blocks)
    result["range"] = found | {"peak_mib": _peak()}
    typer.echo(json.dumps(result["range"], indent=1))
    if not found["largest"] <= LARGEST[kept] * found["scale"]:
        raise SystemExit(f"{' to '.join(blocks)} differ from torch")
    write_result(result_path("onnx-full-size", label, out), machine, result)


def _holes(folder: Path, graph: Graph, state: Drawn) -> Callable[[int], None]:
    """Told of each tensor that was written, it takes the zeros' room on the disk back."""
    partial = folder / f"{DATA}.{os.getpid()}.partial"
    sources = iter([weight.source for weight in graph.weights.values() for _ in weight.forms])
    end = 0

    def advance(size: int) -> None:
        nonlocal end
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + size
        zeros = not state.drawn(next(sources))
        if zeros and size > HOLE:
            hole = ["--punch-hole", "--offset", str(start), "--length", str(size)]
            subprocess.run(["fallocate", *hole, partial], check=True)

    return advance


@torch.no_grad()
def _range(
    file: Path, state: Drawn, config: TransformerConfig, dtype: Dtype, blocks: tuple[str, str]
) -> dict[str, float]:
    """Both blocks between the values that enter the first and leave the second, in ONNX Runtime
    and in torch: the largest distance of two numbers, and the largest number."""
    double, single = blocks
    stem, number = double.split(".")
    before = f"{stem}.{int(number) - 1}"
    rng = np.random.default_rng(0)
    width = config.hidden_size
    img, txt = (
        rng.standard_normal((1, tokens, width), np.float32) for tokens in (ROWS * COLUMNS, TEXT)
    )
    entering = {f"{before}.img": img, f"{before}.txt": txt}
    told = {
        "pooled_projections": rng.standard_normal((1, config.vec_in_dim), np.float32),
        "timestep": np.float32([0.5]),
        "guidance": np.float32([3.5]),
        "img_ids": image_ids(ROWS, COLUMNS).numpy().astype(np.float32),
        "txt_ids": text_ids(TEXT).numpy().astype(np.float32),
    }
    part = _cut(file, entering, told, single, TYPES[dtype])
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
    half = np.float16 if dtype == "fp16" else np.float32
    inputs = {name: value.astype(half) for name, value in entering.items()} | told
    (ours,) = session.run([single], inputs)
    del session

    with torch.device("meta"):
        network = Transformer(config).eval()
    drawn = [name for name in state if state.drawn(name)]
    rounded = {name: state[name].to(TORCH[TYPES[dtype]]).float() for name in drawn}
    network.load_state_dict(rounded, strict=False, assign=True)
    pooled, t, scale = (
        torch.from_numpy(told[name]) for name in ("pooled_projections", "timestep", "guidance")
    )
    vec = network.vector(t, pooled, scale)
    ids = torch.cat([text_ids(TEXT), image_ids(ROWS, COLUMNS)])[None]
    rope = rope_table(ids, config.axes_dim, config.theta)
    first, second = (network.get_submodule(name) for name in blocks)
    x, words = torch.from_numpy(img), torch.from_numpy(txt)
    x, words = first(x, words, vec, rope)
    theirs = second(torch.cat([words, x], dim=1), vec, rope).numpy()
    apart = np.abs(ours.astype(np.float32) - theirs)
    return {"largest": float(apart.max()), "scale": float(np.abs(theirs).max())}


def _cut(
    file: Path,
    entering: Mapping[str, np.ndarray],
    told: Mapping[str, np.ndarray],
    output: str,
    type: int,
) -> Path:
    """The part of a graph between these values as a file beside it, which shares its weights."""
    model = onnx.load(file, load_external_data=False)
    made_by = {name: node for node in model.graph.node for name in node.output}
    needed, names = set(), [output]
    while names:
        name = names.pop()
        if name in made_by and name not in entering and id(made_by[name]) not in needed:
            needed.add(id(made_by[name]))
            names += made_by[name].input
    nodes = [node for node in model.graph.node if id(node) in needed]
    used = {name for node in nodes for name in node.input}
    ends = [
        helper.make_tensor_value_info(name, kind, value.shape)
        for values, kind in ((entering, type), (told, TensorProto.FLOAT))
        for name, value in values.items()
    ]
    result = helper.make_tensor_value_info(output, type, None)
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    graph = helper.make_graph(nodes, "range", ends, [result], tensors)
    part = file.with_name("range.onnx")
    onnx.save(helper.make_model(graph, opset_imports=model.opset_import), part)
    return part


def _peak() -> int:
    """Mebibytes of this process, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    typer.run(main)
