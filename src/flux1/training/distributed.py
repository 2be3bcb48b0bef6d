"""One run on several processes, as `torchrun` starts them: each takes its share of every batch.

What a step computes is what one process would compute, to rounding: the processes draw the same
noise for the whole batch and keep their rows of it, and their gradients are averaged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from flux1.model.blocks import Modulation
from flux1.model.transformer import Transformer

Thing = TypeVar("Thing")
PATIENCE = timedelta(hours=24)  # while the first process encodes, the others wait


@dataclass(frozen=True)
class World:
    """This process among all: number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """True if this is the one that writes files and speaks."""
        return self.rank == 0

    def own(self, rows: Tensor) -> Tensor:
        """This process's rows of a whole batch."""
        return rows[self.rank :: self.size]

    def gather(self, rows: Tensor) -> Tensor:
        """The whole batch, in its order, of everybody's `own` rows (as many each)."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def any(self, here: bool, device: torch.device) -> bool:
        """Return whether `here` is true in any process; all get the same answer."""
        if self.size == 1:
            return here
        flag = torch.tensor(int(here), device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Average the gradients of parameters that every process holds whole; FSDP averages
        those that it has divided."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def share(self, value: Thing) -> Thing:
        """Return what the first process has, for all."""
        if self.size == 1:
            return value
        shared = [value]
        dist.broadcast_object_list(shared)
        return shared[0]


ALONE = World()


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """The processes that torchrun started together, and this one's device: on CUDA, the card of its
    number. A process that was started alone is a world of its own."""
    if not dist.is_torchelastic_launched():
        yield World(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", dist.get_node_local_rank())
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()


def divide(transformer: Transformer, world: World) -> None:
    """Keep a share of the weights in each process (FSDP2), block by block; alone, do nothing.

    The layers of the modulation are called apart from their block, so they are units of their own.
    """
    if world.size == 1:
        return
    mesh = init_device_mesh(transformer.img_in.weight.device.type, (world.size,))
    apart = [module for module in transformer.modules() if isinstance(module, Modulation)]
    blocks = (*transformer.double_blocks, *transformer.single_blocks)
    for unit in (*apart, *blocks, transformer):
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)


def collected(state: Any) -> Any:
    """A state with every divided tensor whole, on the CPU. All processes must call it."""
    if isinstance(state, DTensor):
        return state.full_tensor().cpu()
    if isinstance(state, dict):
        return {key: collected(value) for key, value in state.items()}
    if isinstance(state, list):
        return [collected(value) for value in state]
    return state


def divided_like(value: Tensor, own: Tensor) -> Tensor:
    """A whole tensor in the shares in which `own` lies."""
    if not isinstance(own, DTensor):
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements)
