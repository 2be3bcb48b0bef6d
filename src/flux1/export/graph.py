"""A pen for ONNX graphs: arithmetic on values adds nodes; weights are named now and read later.

A network is written down as it computes, so its nodes are in order by construction, and the graph
of a 12 B model takes milliseconds and no memory: what a weight will be is known from its shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.kinds.lines import listed
from flux1.weights.numbers.int8 import SCALE_SUFFIX, quantize_rows

Dtype = Literal["fp32", "fp16", "bf16", "int8"]
Size = int | str  # a string names a dimension that is open

BOOL, INT8, UINT8 = TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8
INT32, INT64 = TensorProto.INT32, TensorProto.INT64
FLOAT, HALF, BFLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
TYPES: dict[Dtype, int] = {"fp32": FLOAT, "fp16": HALF, "bf16": BFLOAT16, "int8": FLOAT}
TORCH = {FLOAT: torch.float32, HALF: torch.float16, BFLOAT16: torch.bfloat16, INT8: torch.int8}
LARGEST_HALF = 65_504.0
ZERO8, LARGEST8 = 128.0, 127.0  # what stands for 0 in 8 bits without a sign, and how far they reach
SILENCE = 1e-12  # tokens are never scaled by less, 0 above all


@dataclass(frozen=True)
class Initializer:
    """An initializer before it has numbers: its name, element type and shape."""

    name: str
    type: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape)) * TORCH[self.type].itemsize


@dataclass(frozen=True)
class Weight:
    """One tensor of a network: the initializers that are made of it, and how."""

    source: str
    forms: tuple[Initializer, ...]
    make: Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True, eq=False)
class Value:
    """An edge of a graph. Numbers and arrays that meet it take its element type."""

    graph: "Graph"
    name: str
    type: int

    def __add__(self, other: "Operand") -> "Value":
        return self.graph.node("Add", self, other)

    def __sub__(self, other: "Operand") -> "Value":
        return self.graph.node("Sub", self, other)

    def __mul__(self, other: "Operand") -> "Value":
        return self.graph.node("Mul", self, other)

    def __truediv__(self, other: "Operand") -> "Value":
        return self.graph.node("Div", self, other)

    def __matmul__(self, other: "Operand") -> "Value":
        return self.graph.node("MatMul", self, other)

    def to(self, type: int) -> "Value":
        """Cast, if it is not of that type already."""
        return self if self.type == type else self.graph.node("Cast", self, to=type, type=type)

    def reshape(self, *shape: int) -> "Value":
        """0 keeps a dimension, -1 is what is left."""
        return self.graph.node("Reshape", self, np.array(shape, np.int64))

    def transpose(self, *axes: int) -> "Value":
        return self.graph.node("Transpose", self, perm=axes)

    def unsqueeze(self, axis: int) -> "Value":
        return self.graph.node("Unsqueeze", self, np.array([axis]))

    def split(self, sizes: Sequence[int], axis: int = -1) -> list["Value"]:
        return self.graph.nodes("Split", self, np.array(sizes), outputs=len(sizes), axis=axis)

    def chunk(self, count: int, axis: int = -1) -> list["Value"]:
        return self.graph.nodes("Split", self, outputs=count, axis=axis, num_outputs=count)

    def sum(self, axis: int) -> "Value":
        return self.graph.node("ReduceSum", self, np.array([axis]), keepdims=0)

    def softmax(self) -> "Value":
        return self.graph.node("Softmax", self, axis=-1)

    def sigmoid(self) -> "Value":
        return self.graph.node("Sigmoid", self)

    def silu(self) -> "Value":
        return self * self.sigmoid()

    def gelu(self, approximate: Literal["tanh", "none"]) -> "Value":
        return self.graph.node("Gelu", self, approximate=approximate)


Operand = Value | float | np.ndarray | None


class Graph:
    """One network on its way to a file.

    `shapes` are those of the network's tensors; each must find its place, or `finish` raises.
    Inside, it computes in `dtype`; what goes in and comes out is float32 or int64 whatever that is,
    so one program runs them all. In int8, it computes in float32, and matrices are kept in 8 bits;
    with `integers`, the tokens that they meet are rounded to 8 bits too: quicker, and less exact.
    """

    def __init__(
        self,
        name: str,
        shapes: Mapping[str, tuple[int, ...]],
        dtype: Dtype,
        opset: int,
        integers: bool = False,
    ) -> None:
        self.name, self.type, self.opset = name, TYPES[dtype], opset
        self.weights: dict[str, Weight] = {}
        self._eight_bits, self._integers = dtype == "int8", integers
        self._shapes = shapes
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[bytes, tuple[int, ...], int], onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    # --- the ends of the graph -------------------------------------------------------------------

    def input(self, name: str, *shape: Size, type: int = FLOAT) -> Value:
        self._inputs.append(helper.make_tensor_value_info(name, type, shape))
        return Value(self, name, type)

    def output(self, name: str, value: Value, *shape: Size) -> Value:
        """The newest value leaves the graph in float32, under this name."""
        self._outputs.append(helper.make_tensor_value_info(name, FLOAT, shape))
        return self.called(value.to(FLOAT), name)

    def called(self, value: Value, name: str) -> Value:
        """Give the newest value a name by which it is found in the file."""
        outputs = self._nodes[-1].output
        if list(outputs) != [value.name]:
            raise ValueError(f"{value.name} is not the newest value: it may be in use already")
        outputs[0] = name
        return Value(self, name, value.type)

    def finish(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """The graph, its weights by name only. WeightsError if a tensor of the network has no place
        in it."""
        unused = self._shapes.keys() - {weight.source for weight in self.weights.values()}
        if unused:
            raise WeightsError(f"{self.name}: has no place for {listed(sorted(unused))}")
        constants = list(self._constants.values())
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, constants)
        opset = helper.make_opsetid("", self.opset)
        model = helper.make_model_gen_version(graph, opset_imports=[opset], producer_name="flux1")
        helper.set_model_props(model, dict(metadata))
        return model

    # --- operators -------------------------------------------------------------------------------

    def node(
        self, kind: str, *inputs: Operand, type: int | None = None, **attributes: Any
    ) -> Value:
        (value,) = self.nodes(kind, *inputs, type=type, **attributes)
        return value

    def nodes(
        self,
        kind: str,
        *inputs: Operand,
        outputs: int = 1,
        type: int | None = None,
        **attributes: Any,
    ) -> list[Value]:
        """Any operator; None leaves out an input. Results are of the first value's type, if no
        other is told."""
        first = next(value for value in inputs if isinstance(value, Value))
        words = [self._operand(value, first.type) for value in inputs]
        number = len(self._nodes)
        names = [f"{kind}_{number}" + (f".{i}" if outputs > 1 else "") for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, words, names, names[0], **attributes))
        return [Value(self, name, first.type if type is None else type) for name in names]

    def constant(self, value: Any, type: int) -> Value:
        """A small array that belongs to the graph; equal ones are kept once. Integers are int64."""
        array = np.asarray(value)
        if array.dtype.kind == "i":
            type = INT64
        array = array.astype(helper.tensor_dtype_to_np_dtype(type))
        key = array.tobytes(), array.shape, type
        if key not in self._constants:
            name = f"constant_{len(self._constants)}"
            tensor = helper.make_tensor(name, type, array.shape, array.tobytes(), raw=True)
            self._constants[key] = tensor
        return Value(self, self._constants[key].name, type)

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        return self.node("Concat", *values, axis=axis)

    def shape(self, x: Value) -> Value:
        return self.node("Shape", x, type=INT64)

    def length(self, x: Value, axis: int) -> Value:
        """(1,): the size of one dimension."""
        return self.node("Shape", x, start=axis, end=axis + 1, type=INT64)

    def residual(self, x: Value, change: Value) -> Value:
        """x + change; in float16 kept from overflowing, as other programs do."""
        total = x + change
        if total.type != HALF:
            return total
        return self.node("Clip", total, -LARGEST_HALF, LARGEST_HALF)

    # --- layers ----------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Return whether the network has this tensor."""
        return name in self._shapes

    def weight(self, name: str, shape: tuple[int, ...] | None = None) -> Value:
        """A tensor of the network in the graph's type, reshaped if asked."""
        own = self._shape(name)
        seen = own if shape is None else np.broadcast_to(0, own).reshape(shape).shape
        form = Initializer(name, self.type, seen)
        self.weights[name] = Weight(name, (form,), partial(_plain, form))
        return Value(self, name, self.type)

    def linear(self, x: Value, name: str, bias: bool = True, exact: bool = False) -> Value:
        """x W^T + b, by the tensors `name.weight` and `name.bias`. W is kept in 8 bits if the graph
        is, unless it must be `exact`."""
        if self._eight_bits and not exact:
            y = self._eight_bit_product(x, f"{name}.weight")
        else:
            y = x @ self._turned(f"{name}.weight")
        return y + self.weight(f"{name}.bias") if bias else y

    def embedding(self, name: str, ids: Value) -> Value:
        """Rows of the tensor `name`."""
        if not self._eight_bits:
            return self.node("Gather", self.weight(name), ids, axis=0)
        rows, scales = self._rows(name)
        codes = self.node("Gather", rows, ids, axis=0).to(FLOAT)
        return codes * self.node("Gather", scales, ids, axis=0).unsqueeze(2)

    def first_rows(self, name: str, ids: Value) -> Value:
        """As many rows of the tensor `name` as each row of `ids` is long."""
        return self.node("Slice", self.weight(name), np.array([0]), self.length(ids, 1))

    def layer_norm(self, x: Value, width: int, eps: float, name: str | None = None) -> Value:
        """Over the last axis; scaled and shifted by the tensors `name.weight` and `name.bias`."""
        if name is None:
            return self.node("LayerNormalization", x, np.ones(width), axis=-1, epsilon=eps)
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=eps)

    def rms_norm(self, x: Value, name: str, eps: float = 1e-6) -> Value:
        """x / rms(x) over the last axis in float32, cast back, then scaled by the tensor `name`."""
        whole = x.to(FLOAT)
        square = self.node("Pow", whole, 2.0)
        mean = self.node("ReduceMean", square, np.array([-1]), keepdims=1)
        return (whole / self.node("Sqrt", mean + eps)).to(x.type) * self.weight(name)

    def _rows(self, name: str, transposed: bool = False) -> tuple[Value, Value]:
        """A matrix in 8 bits and its rows' scales."""
        shape = self._shape(name)
        codes = Initializer(f"{name}.int8", INT8, shape[::-1] if transposed else shape)
        scales = Initializer(f"{name}.scale", FLOAT, shape[:1])
        self.weights[name] = Weight(name, (codes, scales), partial(_coded, name, transposed))
        return Value(self, codes.name, INT8), Value(self, scales.name, FLOAT)

    def _turned(self, name: str) -> Value:
        """A matrix, rows as columns."""
        form = Initializer(f"{name}.T", self.type, self._shape(name)[::-1])
        self.weights[name] = Weight(name, (form,), partial(_turned, form))
        return Value(self, form.name, self.type)

    def _eight_bit_product(self, x: Value, name: str) -> Value:
        """x by a matrix with a scale for each row: either the matrix is made float again, or each
        token of x is rounded by a scale of its own. One scale for a whole call, as ONNX Runtime's
        `quantize_dynamic` writes it, would let a loud token drown the others, and pictures that
        are drawn together change each other."""
        codes, scales = self._rows(name, transposed=True)
        if not self._integers:
            return x @ self.node("DequantizeLinear", codes, scales, axis=1, type=FLOAT)
        largest = self.node("ReduceMax", self.node("Abs", x), np.array([-1]), keepdims=1)
        scale = self.node("Max", largest, SILENCE) / LARGEST8
        x8 = (self.node("Round", x / scale) + ZERO8).to(UINT8)
        zero = self.constant(ZERO8, UINT8)
        total = self.node("MatMulInteger", x8, codes, zero, type=INT32).to(FLOAT)
        return total * scale * scales

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self._shapes:
            raise WeightsError(f"{self.name}: the weights have no {name}")
        return self._shapes[name]

    def _operand(self, value: Operand, type: int) -> str:
        if value is None:
            return ""
        return value.name if isinstance(value, Value) else self.constant(value, type).name


def _plain(form: Initializer, tensor: Tensor) -> list[Tensor]:
    return [tensor.to(TORCH[form.type]).reshape(form.shape).contiguous()]


def _turned(form: Initializer, tensor: Tensor) -> list[Tensor]:
    return [tensor.to(TORCH[form.type]).T.contiguous()]


def _coded(name: str, transposed: bool, tensor: Tensor) -> list[Tensor]:
    found = quantize_rows({name: tensor})
    codes = found[name]
    return [codes.T.contiguous() if transposed else codes, found[name + SCALE_SUFFIX]]
