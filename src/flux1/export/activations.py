"""The text encoders' nonlinearities as graphs."""

from collections.abc import Callable

from flux1.export.graph import Value
from flux1.model.config import Activation

ACTIVATIONS: dict[Activation, Callable[[Value], Value]] = {
    "quick_gelu": lambda x: x * (x * 1.702).sigmoid(),
    "gelu": lambda x: x.gelu("none"),
    "gelu_new": lambda x: x.gelu("tanh"),
    "gelu_pytorch_tanh": lambda x: x.gelu("tanh"),
    "relu": lambda x: x.graph.node("Relu", x),
    "silu": Value.silu,
}
