"""LoRA (Hu et al. 2021, arXiv 2106.09685): a trained change of low rank beside frozen layers."""

import math
from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from flux1.model.transformer import Transformer


class Branch(nn.Module):
    """The branch that one layer gains: scale * up(down(x)). `up` begins at zero, so training
    begins at the network as it is."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def beside(
        self, _: nn.Module, inputs: tuple[Float[Tensor, "... i"]], output: Float[Tensor, "... o"]
    ) -> Float[Tensor, "... o"]:
        """A forward hook of the layer. The branch computes in its own dtype, which is wider than
        that of a layer kept in bfloat16 (autocast narrows both)."""
        x = inputs[0].to(self.down.dtype)
        return output + (self.scale * F.linear(F.linear(x, self.down), self.up)).to(output.dtype)


class LoraNetwork(nn.Module):
    """A frozen network with a branch beside each named linear layer. Only the branches are
    parameters: what is averaged, clipped and kept in checkpoints is theirs alone.

    The network is called as it would be without them. ValueError if a rank exceeds a layer's width.
    """

    network: Transformer

    def __init__(
        self, network: Transformer, layers: Collection[str], rank: int, alpha: float
    ) -> None:
        super().__init__()
        network.requires_grad_(False)
        self.__dict__["network"] = network  # not a submodule: its weights are not this module's
        self.rank, self.alpha = rank, alpha
        self.branches = nn.ModuleDict()
        for name in layers:
            layer = network.get_submodule(name)
            inputs, outputs = widths(layer)
            if rank > min(inputs, outputs):
                raise ValueError(f"rank {rank} exceeds {name}, {outputs} x {inputs}")
            branch = Branch(inputs, outputs, rank, alpha / rank)
            layer.register_forward_hook(branch.beside)
            self.branches[name.replace(".", "/")] = branch
        self.to(next(network.parameters()).device)

    def forward(self, *args: Any) -> Tensor:
        answer: Tensor = self.network(*args)
        return answer

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Each layer's down and up."""
        return {
            key.replace("/", "."): (branch.down.detach(), branch.up.detach())
            for key, branch in self.branches.items()
            if isinstance(branch, Branch)
        }

    def tensors(self) -> dict[str, Tensor]:
        """The branches as a LoRA's file has them: PEFT's names, and the alpha of each layer."""
        state: dict[str, Tensor] = {}
        for name, (down, up) in self.factors().items():
            state[f"{name}.lora_A.weight"] = down
            state[f"{name}.lora_B.weight"] = up
            state[f"{name}.alpha"] = torch.tensor(float(self.alpha))
        return state


def linear_layers(network: nn.Module, prefixes: Collection[str]) -> list[str]:
    """The names of the linear layers, stored ones too, that begin with one of the prefixes."""
    return [
        name
        for name, module in network.named_modules()
        if hasattr(module, "in_features") and name.startswith(tuple(prefixes))
    ]


def widths(layer: nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a linear layer, however its weight is kept."""
    return int(layer.in_features), int(layer.out_features)  # type: ignore[arg-type]
