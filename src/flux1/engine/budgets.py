"""Nothing is begun that memory does not hold: asked before an order waits, and before a stage runs.

What a stage will take is predicted (`pipeline/footprint.py`); what there is, the device is asked.
Stages that memory holds together run together, else one waits for the other.
"""

import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Condition, Lock

import torch

from flux1.errors import OverloadedError, RequestError
from flux1.pipeline.footprint import call_bytes, decode_bytes, picture_bytes
from flux1.pipeline.load import Networks
from flux1.pipeline.memory import Memory
from flux1.pipeline.pipeline import FluxPipeline
from flux1.request import ImageRequest, Order
from flux1.variants import Variant

# Of what is free, what may be planned with. The rest is for what is not predicted: encoding a
# prompt, kernels' scratch, the allocator's fragments, finished pictures.
SHARE = 0.9
RETRY_S = 30.0  # after which memory that others hold may be free again


class Budget:
    """One device's memory, beside the models that lie in it."""

    def __init__(self, read: Callable[[], Memory | None], held: int) -> None:
        self._read, self._held = read, held
        self._next, self._changed = Lock(), Condition()
        self._taken = 0

    def most(self) -> int:
        """The bytes that one stage may take on a device that nobody else uses."""
        memory = self._read()
        return sys.maxsize if memory is None else int(SHARE * (memory.total - self._held))

    def now(self) -> int:
        """The bytes that may be taken at this moment, beside the stages that run."""
        memory = self._read()
        return sys.maxsize if memory is None else int(SHARE * memory.free)

    def soon(self) -> int:
        """The most that there can be when the stages that run have ended."""
        memory = self._read()
        return sys.maxsize if memory is None else int(SHARE * (memory.free + self._taken))

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Wait until so many bytes fit beside what others have taken; who asks first goes first.

        Of what is taken an unknown part is used already, and so missing twice: stages run one
        after the other rather than be short. A stage that is alone runs in any case; should memory
        be too little, the allocator says so.
        """
        with self._next, self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self.now())
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


class Budgets:
    """The devices of an engine's models, and what drawing takes of them."""

    def __init__(
        self,
        pipelines: Mapping[str, FluxPipeline],
        read: Callable[[torch.device], Memory | None],
    ) -> None:
        self._networks = {name: pipeline.networks for name, pipeline in pipelines.items()}
        self._read = read
        held: dict[torch.device, int] = defaultdict(int)
        for networks in {id(one): one for one in self._networks.values()}.values():
            held[networks.device] += networks.nbytes
        self._devices = {
            device: Budget(partial(read, device), size) for device, size in held.items()
        }
        self._planned = Budget(lambda: None, 0)  # networks that come and go keep their own bounds

    def check(self, order: Order) -> None:
        """RequestError for pictures that never fit, OverloadedError for those that do not now
        (unless they were promised)."""
        request, networks = order.request, self._networks[order.request.model]
        networks.check(request)
        budget, variant, dtype = self._budget(networks), networks.variant, networks.dtype
        needs = picture_bytes(variant, dtype, request.width * request.height)
        wish = f"{request.width}x{request.height} takes {_shown(needs)} of memory"
        if needs > (most := budget.most()):
            fits = _largest(variant, dtype, request, most)
            raise RequestError(
                "size", f"{wish}, this device has {_shown(most)} beside the models; {fits}"
            )
        if not order.promised and needs > (free := budget.soon()):
            raise OverloadedError(f"{wish}, {_shown(free)} are free at the moment", RETRY_S)

    def free(self) -> int | None:
        """The bytes that could be taken now (of the fullest device), None if it cannot be known."""
        found = [self._read(device) for device in self._devices]
        return min((memory.free for memory in found if memory is not None), default=None)

    @contextmanager
    def call(self, model: str, rows: int, row_tokens: int, most_tokens: int) -> Iterator[int]:
        """Wait for the memory that evaluating so many rows takes. Gives the tokens that may share a
        call: `most_tokens` or, where memory is short, fewer, but one row's at least."""
        networks = self._networks[model]
        budget = self._budget(networks)
        row = call_bytes(networks.variant.transformer, networks.dtype, row_tokens)
        most = min(most_tokens, networks.tokens_per_call) // row_tokens
        at_once = max(1, min(rows, most, budget.now() // row))
        with budget.take(at_once * row):
            yield at_once * row_tokens

    @contextmanager
    def decode(self, request: ImageRequest) -> Iterator[None]:
        """Wait for the memory that decoding one picture of a request takes."""
        networks = self._networks[request.model]
        pixels = request.width * request.height
        size = decode_bytes(networks.variant.autoencoder, networks.dtype, pixels)
        with self._budget(networks).take(size):
            yield

    def _budget(self, networks: Networks) -> Budget:
        return self._planned if networks.comes_and_goes else self._devices[networks.device]


def _largest(variant: Variant, dtype: torch.dtype, request: ImageRequest, most: int) -> str:
    """The largest size of nearly the same shape that takes no more than `most`."""
    multiple = variant.size_multiple
    long, short = sorted((request.width, request.height), reverse=True)

    def sides(steps: int) -> tuple[int, int]:
        return steps * multiple, max(1, round(steps * short / long)) * multiple

    def too_much(steps: int) -> bool:
        side, other = sides(steps)
        return picture_bytes(variant, dtype, side * other) > most

    steps = bisect_left(range(1, long // multiple), True, key=too_much)
    if not steps:
        return "no size fits"
    width, height = sides(steps) if request.width == long else sides(steps)[::-1]
    return f"nearest: {width}x{height}"


def _shown(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
