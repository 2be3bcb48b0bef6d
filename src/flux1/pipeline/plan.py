"""Placements of a model's networks that fit into given memory, and about how long each draws. Pure
arithmetic: no network is loaded, nothing allocated.

Memory is added up: what the process takes before there are weights, the weights of the networks
that are there at once, what passes through while one is loaded or used, and what computing holds
(pipeline/footprint.py). Time is work over rate: arithmetic over what a product reaches, bytes over
what the disk gives. A layer is read while another is computed, so of these two the longer counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import torch

from flux1.errors import Flux1Error
from flux1.pipeline.advance import TOKENS_PER_CALL
from flux1.pipeline.device_speed import DeviceSpeed
from flux1.pipeline.footprint import (
    call_bytes,
    decode_bytes,
    encode_bytes,
    modulation_numbers,
    tiled_bytes,
)
from flux1.pipeline.memory import bytes_text
from flux1.pipeline.memory_limit import MemoryLimit
from flux1.pipeline.model_cost import ModelCost, Weights, call_flops, decode_flops, encode_flops
from flux1.pipeline.modulation_cache import ROWS_AHEAD
from flux1.request import ImageRequest
from flux1.variants import Variant
from flux1.weights.numbers.keep import Keep
from flux1.weights.numbers.quantize import Quantization

Device = Literal["cpu", "cuda"]
Offload = Literal["none", "text encoders", "all"]
OFFLOADS: tuple[Offload, ...] = ("none", "text encoders", "all")
Lacking = Literal["", "ram", "vram"]

# What no formula counts, in bytes: a weight that is being decoded, some rows at a time; on a card,
# CUDA itself and its kernels' workspaces; in the process, CUDA's libraries.
PIECES: dict[Device, int] = {"cpu": 100_000_000, "cuda": 500_000_000}
CARD, HOST_OF_CARD = 600_000_000, 1_000_000_000
FRAGMENTS = 1.1  # what an allocator takes, for what it hands out
TILING_WORK = 1.35  # of an exactly tiled decode, in whole ones
ALIKE = 1.05  # times of a smaller ratio are taken for equal: the simpler way is preferred
TYPICAL: dict[Device, DeviceSpeed] = {  # what orders the ways where no rate is known
    "cpu": DeviceSpeed(flops=3e11, unpacked=2e9, disk=1e9),
    "cuda": DeviceSpeed(flops=1e14, unpacked=1e11, disk=2e9),
}


@dataclass(frozen=True)
class Workload:
    """The work to be done: at each of `evaluations` points of the path, `rows` of so many tokens.
    `loras` are the bytes of LoRA files that stay beside the networks."""

    width: int
    height: int
    rows: int
    row_tokens: int
    text_tokens: int
    steps: int
    evaluations: int
    pictures: int
    prompts: int
    loras: int = 0

    @classmethod
    def of(cls, variant: Variant, requests: Sequence[ImageRequest]) -> "Workload":
        """The work of requests that are drawn together; the largest size and the longest path
        count."""
        largest = max(requests, key=lambda r: r.width * r.height)
        text = max(variant.tokens(request).text for request in requests)
        return cls(
            width=largest.width,
            height=largest.height,
            rows=sum(r.num_images * len(r.conditions) for r in requests),
            row_tokens=variant.tokens(largest).image + text,
            text_tokens=text,
            steps=max(r.steps for r in requests),
            evaluations=max(r.evaluations for r in requests),
            pictures=sum(r.num_images for r in requests),
            prompts=sum(len(r.conditions) for r in requests),
        )


@dataclass(frozen=True)
class Placement:
    """The devices on which a model's networks lie, and the form in which they are kept. `keep` and
    `quantize` are the transformer's, `keep_text` the text encoders'.

    `offload`: which networks leave memory for others: none; the text encoders, before the others
    come; or all, so that there is one at a time.
    """

    device: Device
    dtype: torch.dtype
    keep: Keep
    keep_text: Keep
    quantize: Quantization | None
    offload: Offload
    exact_tiling: bool
    tokens_per_call: int


@dataclass(frozen=True)
class Estimate:
    """The estimate of a placement: bytes at the fullest moment, of the process' memory and of a
    card's; seconds of a step, and of all with loading, None where a rate is not known. `lacks`
    names the memory that is too little, '' if it fits. Placements are ordered by `cost`: seconds
    that drawing takes once everything was read."""

    placement: Placement
    ram: int
    vram: int | None
    step_s: float | None
    total_s: float | None
    cost: float
    lacks: Lacking


def plan(
    costs: ModelCost,
    workload: Workload,
    limit: MemoryLimit,
    dtypes: Mapping[Device, torch.dtype],
    speeds: Mapping[tuple[Device, Quantization | None], DeviceSpeed] | None = None,
    quantizations: Sequence[Quantization | None] = (None,),
) -> list[Estimate]:
    """One placement for each device (of the dtype that it computes in), quantisation, and way to
    keep the transformer: the fastest that fits, or else the one that comes nearest.

    Those that fit come first, the fastest first of all; of those that take as long, the simplest.
    """
    found = []
    for device, keep, quantize in product(dtypes, costs.keeps, quantizations):
        if quantize is not None and keep != "plain":
            continue  # what stays as its file has it is quantised there
        if keep == "packed" and costs.transformer.stored >= dtypes[device].itemsize:
            continue  # as large as plain, or larger
        known = (speeds or {}).get((device, quantize), DeviceSpeed())
        choices = product(_calls(workload), costs.text_keeps, OFFLOADS, (False, True))
        placements = (
            Placement(device, dtypes[device], keep, keep_text, quantize, offload, tiling, tokens)
            for tokens, keep_text, offload, tiling in choices  # the simplest first
        )
        estimates = [_estimate(costs, workload, limit, known, one) for one in placements]
        found.append(_best(estimates, limit))
    return sorted(found, key=lambda one: (bool(one.lacks), one.cost))


def _best(estimates: Sequence[Estimate], limit: MemoryLimit) -> Estimate:
    """The first that fits and is as fast as the fastest, or else the one that comes nearest."""
    fitting = [one for one in estimates if not one.lacks]
    if not fitting:
        return min(estimates, key=lambda one: _excess(one, limit))
    fastest = min(one.cost for one in fitting)
    return next(one for one in fitting if one.cost <= ALIKE * fastest)


def enough(estimates: Sequence[Estimate], limit: MemoryLimit) -> MemoryLimit:
    """The nearest limit within which one of these placements would do, none of which fits."""
    nearest = min(estimates, key=lambda one: _excess(one, limit))
    ram = limit.ram if nearest.ram <= limit.ram else _rounded(nearest.ram)
    if limit.vram is None or nearest.vram is None or nearest.vram <= limit.vram:
        return replace(limit, ram=ram)
    return replace(limit, ram=ram, vram=_rounded(nearest.vram))


def too_little(
    variant: Variant, workload: Workload, limit: MemoryLimit, estimates: Sequence[Estimate]
) -> Flux1Error:
    """The error where none of these placements fits: it names the least that would do."""
    wanted = enough(estimates, limit)
    of_card = wanted.vram is not None and limit.vram is not None and wanted.vram > limit.vram
    had, least = (limit.vram, wanted.vram) if of_card else (limit.ram, wanted.ram)
    assert had is not None
    assert least is not None
    return Flux1Error(
        f"memory: {bytes_text(had)} of {'graphics memory' if of_card else 'memory'} is too little "
        f"for {variant.id} at {workload.width}x{workload.height}; the least that does is "
        f"{bytes_text(least)}"
    )


def _estimate(
    costs: ModelCost,
    workload: Workload,
    limit: MemoryLimit,
    speeds: DeviceSpeed,
    placement: Placement,
) -> Estimate:
    there = _fullest(costs, workload, placement)
    lacks: Lacking = ""
    if placement.device == "cpu":
        ram, vram = limit.process + there, None
    else:
        passing = max(one.passing(placement.keep) for one in (costs.transformer, *costs.text))
        ram, vram = limit.process + HOST_OF_CARD + 2 * passing, CARD + there
        if vram > (limit.vram or 0):
            lacks = "vram"
    if ram > limit.ram:
        lacks = "ram"
    cached = costs.transformer.file_bytes <= limit.ram - ram
    typical = TYPICAL[placement.device]
    guessed = DeviceSpeed(
        speeds.flops or typical.flops,
        speeds.unpacked or typical.unpacked,
        speeds.disk or typical.disk,
    )
    step_s, total_s, _ = _seconds(costs, workload, placement, speeds, cached)
    *_, cost = _seconds(costs, workload, placement, guessed, cached)
    assert cost is not None  # every rate is known
    return Estimate(placement, ram, vram, step_s, total_s, cost, lacks)


def _fullest(costs: ModelCost, workload: Workload, placement: Placement) -> int:
    """Bytes at the fullest moment, where the networks are."""
    dtype, quantized, variant = placement.dtype, placement.quantize is not None, costs.variant
    pixels, pieces = workload.width * workload.height, PIECES[placement.device]
    text = sum(one.held(placement.keep_text, dtype, quantized) for one in costs.text)
    transformer = costs.transformer.held(placement.keep, dtype, quantized)
    autoencoder = costs.autoencoder.held("plain", dtype, quantized=False)
    others = transformer + autoencoder

    encoding = 0
    if variant.text.t5 is not None:
        encoding = encode_bytes(variant.text.t5, dtype, workload.text_tokens)
    calling = call_bytes(variant.transformer, dtype, placement.tokens_per_call)
    if placement.keep != "plain" or quantized:  # two copies while it is computed, one from then on
        ahead = min(ROWS_AHEAD, workload.rows * workload.evaluations) * dtype.itemsize
        calling += 2 * ahead * modulation_numbers(variant.transformer)
    decoding = decode_bytes(variant.autoencoder, dtype, pixels)
    if placement.exact_tiling:
        decoding = tiled_bytes(variant.autoencoder, dtype, workload.height, workload.width)
    in_text = _busy(costs.text, placement.keep_text, encoding, pieces)
    in_transformer = _busy([costs.transformer], placement.keep, calling, pieces)
    in_autoencoder = _busy([costs.autoencoder], "plain", decoding, 0)

    if placement.offload == "none":
        most = text + others + max(in_text, in_transformer, in_autoencoder)
    elif placement.offload == "text encoders":
        most = max(text + in_text, others + max(in_transformer, in_autoencoder))
    else:
        most = max(text + in_text, transformer + in_transformer, autoencoder + in_autoencoder)
    loras = workload.loras * max(1, dtype.itemsize // 2)  # in their files, most often in 16 bits
    return most + loras


def _busy(networks: Sequence[Weights], keep: Keep, computing: int, pieces: int) -> int:
    """Bytes on top of the weights while networks are loaded, or used."""
    passing = max(one.passing(keep) for one in networks)
    used = round(FRAGMENTS * computing)
    if keep == "plain":
        return max(passing, used)
    used += pieces
    return max(passing, used) if keep == "packed" else passing + used


def _seconds(
    costs: ModelCost, workload: Workload, placement: Placement, speeds: DeviceSpeed, cached: bool
) -> tuple[float | None, float | None, float | None]:
    """Seconds of a step; of all, the first time; of all, when everything was read once before. A
    file that is `cached` is read from the disk only once."""
    known = (speeds.flops, speeds.unpacked, speeds.disk)
    flops, unpacked, disk = (math.nan if speed is None else speed for speed in known)

    def read(size: int) -> float:
        return size / disk if size else 0.0

    def use(weights: Weights, keep: Keep, computing: int, again: bool) -> float:
        seconds = computing / flops
        if keep != "plain" and weights.stored != placement.dtype.itemsize:
            seconds += weights.used / unpacked
        if keep != "mapped" or (again and cached):
            return seconds
        return _longer(seconds, read(round(weights.used * weights.stored)))

    variant = costs.variant
    encoding = encode_flops(variant.text, workload.text_tokens) // len(costs.text)
    at_once = placement.tokens_per_call // workload.row_tokens
    calls = math.ceil(workload.rows / at_once)
    calling = min(workload.rows, at_once) * call_flops(variant.transformer, workload.row_tokens)
    decoding = decode_flops(variant.autoencoder, workload.width * workload.height) / flops
    step = calls * use(costs.transformer, placement.keep, calling, again=True)

    def drawing(again: bool) -> float:
        encode = sum(use(one, placement.keep_text, encoding, again) for one in costs.text)
        first = calls * use(costs.transformer, placement.keep, calling, again)
        decode = workload.pictures * decoding * (TILING_WORK if placement.exact_tiling else 1)
        return workload.prompts * encode + first + (workload.evaluations - 1) * step + decode

    load = sum(read(one.file_bytes) for one in _loaded(costs, placement))
    return (
        _known(step * workload.evaluations / workload.steps),
        _known(load + drawing(again=False)),
        _known(drawing(again=True)),
    )


def _loaded(costs: ModelCost, placement: Placement) -> list[Weights]:
    """The networks that are read before anything is drawn; mapped ones stay in their files."""
    text = () if placement.keep_text == "mapped" else costs.text
    transformer = () if placement.keep == "mapped" else (costs.transformer,)
    return [costs.autoencoder, *text, *transformer]


def _calls(workload: Workload) -> list[int]:
    """Tokens that may share a call: of all rows, if that is not too many, halved down to one."""
    rows = max(1, min(workload.rows, TOKENS_PER_CALL // workload.row_tokens))
    return [(rows >> half) * workload.row_tokens for half in range(rows.bit_length())]


def _excess(estimate: Estimate, limit: MemoryLimit) -> tuple[int, int]:
    """The bytes by which a placement does not fit; of those that fit alike, the least."""
    over = max(0, estimate.ram - limit.ram)
    if estimate.vram is not None:
        over += max(0, estimate.vram - (limit.vram or 0))
    return over, estimate.ram + (estimate.vram or 0)


def _rounded(size: int) -> int:
    """Up, to 10 MB, and a little more: a process does not take the same each time."""
    return math.ceil((1.02 * size + 10_000_000) / 10_000_000) * 10_000_000


def _longer(one: float, other: float) -> float:
    return math.nan if math.isnan(one + other) else max(one, other)


def _known(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds
