"""Networks of shapes alone, then given tensors, checked by name and shape, or random ones."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from flux1.errors import WeightsError
from flux1.weights.files.lazy import Stored, StoredTensors
from flux1.weights.kinds.kind import NetworkKind
from flux1.weights.kinds.lines import check_names, listed
from flux1.weights.numbers.keep import Storing

Network = TypeVar("Network", bound=nn.Module)
Config = TypeVar("Config")
Device = torch.device | str


class _Unfilled(TorchFunctionMode):
    """Leaves tensors as they are that torch.nn.init would fill. Tensors of shapes alone cannot be
    filled, and trying to imports torch's compiler, which takes longer than loading flux-mini."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def empty(build: Callable[[Config], Network], config: Config, device: Device = "meta") -> Network:
    """A network of shapes alone; on another device, with weights in memory that is not filled."""
    with torch.device(device), _Unfilled():
        return build(config).eval().requires_grad_(False)


def fill(
    network: Network,
    state: StoredTensors,
    dtype: torch.dtype,
    device: Device,
    storing: Storing | None = None,
) -> Network:
    """Give a network of shapes the tensors of `state`, cast and moved one at a time; or layers that
    keep them otherwise, where `storing` makes such.

    WeightsError lists names that are missing or unknown, then tensors of a wrong shape.
    """
    wanted = _parameter_names(network)
    check_names(state.keys(), wanted)
    wrong: list[str] = []
    filled: dict[str, nn.Parameter] = {}
    for name, aliases in wanted.items():
        if storing is not None and _stored(network, aliases, state.stored[name], storing):
            continue
        tensor, shape = state[name], network.get_parameter(name).shape
        if not tensor.is_floating_point():
            raise WeightsError(f"{name}: is kept as {tensor.dtype}, in a way that is not known")
        if tensor.shape != shape:
            wrong.append(_misshapen(name, tensor.shape, shape))
            continue
        parameter = nn.Parameter(tensor.to(device=device, dtype=dtype), requires_grad=False)
        filled |= dict.fromkeys(aliases, parameter)
    if wrong:
        raise WeightsError(f"wrong shape: {listed(wrong)}")
    network.load_state_dict(filled, assign=True)
    _fill_buffers(network, device)
    return network


@torch.no_grad()
def randomise(network: Network, seed: int) -> Network:
    """Draw weights: matrices and kernels with variance 1 / inputs, biases small, norms near 1."""
    generator = torch.Generator().manual_seed(seed)
    for name in _parameter_names(network):
        parameter = network.get_parameter(name)
        parameter.normal_(generator=generator)
        if parameter.ndim > 1:
            parameter.div_(parameter[0].numel() ** 0.5)
        elif name.endswith("bias"):
            parameter.mul_(0.02)
        else:
            parameter.mul_(0.1).add_(1.0)
    _fill_buffers(network, "cpu")
    return network


def count(build: Callable[[Config], nn.Module], config: Config) -> tuple[int, int]:
    """(numbers, tensors) that a network learns, tied ones once; takes no memory."""
    parameters = list(empty(build, config).parameters())
    return sum(parameter.numel() for parameter in parameters), len(parameters)


def check_shapes(row: NetworkKind, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """WeightsError lists the tensors (under our names) that a network of this kind and `config`
    has in another shape. No tensor is read."""
    network = empty(row.build, config)
    wanted = {name: network.get_parameter(name).shape for name in _parameter_names(network)}
    wrong = [
        _misshapen(name, shape, wanted[name])
        for name, shape in shapes.items()
        if name in wanted and shape != wanted[name]
    ]
    if wrong:
        raise WeightsError(f"wrong shape: {listed(wrong)}")


def _misshapen(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return f"{name} {tuple(found)}, not {tuple(wanted)}"


def _stored(network: nn.Module, aliases: list[str], stored: Stored, storing: Storing) -> bool:
    """Put a layer that keeps its weight otherwise in the places of this one, if it is to be."""
    modules = [name.removesuffix(".weight") for name in aliases if name.endswith(".weight")]
    if len(modules) < len(aliases):
        return False
    layer = storing.layer(modules[0], network.get_submodule(modules[0]), stored)
    if layer is None:
        return False
    for module in modules:
        network.set_submodule(module, layer)
    return True


def _parameter_names(network: nn.Module) -> dict[str, list[str]]:
    """The first name of each parameter, and all the names that it has (T5's embedding has two)."""
    aliases: dict[int, list[str]] = defaultdict(list)
    for name, parameter in network.named_parameters(remove_duplicate=False):
        aliases[id(parameter)].append(name)
    return {group[0]: group for group in aliases.values()}


def _fill_buffers(network: nn.Module, device: Device) -> None:
    """Give the constants that `transformers` computes when it builds, and no file holds, their
    values: a network built on the meta device has their shapes only."""
    for name, buffer in list(network.named_buffers()):
        module, _, attribute = name.rpartition(".")
        if attribute != "position_ids":
            raise TypeError(f"the value of buffer {name} is not known")
        value = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
        network.get_submodule(module).register_buffer(attribute, value, persistent=False)
