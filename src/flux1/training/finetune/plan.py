"""Plans of finetuning: the placements that fit into given memory, and about how long a step takes.
Pure arithmetic: no network is loaded, nothing allocated.

A run has three parts, one after the other: it encodes captions and pictures, loads the transformer,
and trains (footprint.py, beside this). The fullest of them counts. Time is work over rate, as in
pipeline/plan.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from flux1.pipeline.device_speed import DeviceSpeed
from flux1.pipeline.footprint import decode_bytes, encode_bytes
from flux1.pipeline.memory_limit import MemoryLimit
from flux1.pipeline.model_cost import ModelCost, call_flops
from flux1.pipeline.plan import (
    CARD,
    FRAGMENTS,
    HOST_OF_CARD,
    PIECES,
    TYPICAL,
    Device,
    Lacking,
)
from flux1.training.finetune.choose import choose_settings
from flux1.training.finetune.footprint import (
    TrainingFootprint,
    checkpoint_bytes,
    picture_encode_bytes,
    training_bytes,
)
from flux1.training.finetune.prepare import CAPTIONS_AT_ONCE
from flux1.training.finetune.settings import FinetuneSettings
from flux1.variants import Variant
from flux1.weights.numbers.keep import Keep
from flux1.weights.numbers.quantize import Quantization

QUANTIZATIONS: tuple[Quantization | None, ...] = (None, "int8")  # int8 runs everywhere
LIBRARIES = 50_000_000  # bytes: what of torch comes in with training alone
# On a CPU, tensors below this size lie in glibc's heap, where what was given back leaves holes: a
# process then takes so many times its activations (with recomputation, so many), measured.
HEAP, HOLES, HOLES_RECOMPUTED = 32 * 2**20, 1.7, 3.2


@dataclass(frozen=True)
class TrainingPlacement:
    """The placement of a training: `keep` and `quantize` are the frozen weights', `recompute` is
    `--gradient-checkpointing`. `settings` are complete: those of a run that trains so."""

    device: Device
    recompute: bool
    settings: FinetuneSettings


@dataclass(frozen=True)
class TrainingEstimate:
    """The bytes that one process of a placement takes. `preparing`, `loading`, and `training` are
    the parts of a run, where the networks are; `ram` and `vram` the whole at the fullest moment.
    `checkpoint` is a file on the disk. `step_s`: seconds of a step, None where a rate is not known.
    `lacks` names the memory that is too little, '' if it fits. The ways are ordered by `cost`:
    seconds of a step at typical rates, where they are not known."""

    placement: TrainingPlacement
    preparing: int
    loading: int
    training: TrainingFootprint
    ram: int
    vram: int | None
    checkpoint: int
    step_s: float | None
    cost: float
    lacks: Lacking


def plan_training(
    costs: ModelCost,
    limit: MemoryLimit,
    dtypes: Mapping[Device, torch.dtype],
    speeds: Mapping[Device, DeviceSpeed],
    processes: int = 1,
    **given: Any,
) -> list[TrainingEstimate]:
    """One way for each device, way to keep the frozen weights, and with or without recomputation.
    `given` are settings as `choose_settings` takes them. Those that fit come first, the fastest
    first of all. DataError for settings that cannot be."""
    full = given.get("method") == "full"
    keeps: tuple[Keep, ...] = ("plain",) if full else costs.keeps
    found = []
    for device, keep, quantize, recompute in product(
        dtypes, keeps, (None,) if full else QUANTIZATIONS, (False, True)
    ):
        if quantize is not None and keep != "plain":
            continue  # what stays as its file has it is quantised there
        asked = given if full else given | {"keep": keep, "quantize": quantize}
        settings = choose_settings(costs.variant, dtypes[device], processes, **asked)
        size = getattr(torch, settings.precision).itemsize
        if keep == "packed" and costs.transformer.stored >= size:
            continue  # as large as plain, or larger
        placement = TrainingPlacement(device, recompute, settings)
        found.append(
            _estimate(costs, limit, speeds.get(device, DeviceSpeed()), placement, processes)
        )
    return sorted(found, key=lambda one: (bool(one.lacks), one.cost))


def least(estimates: Sequence[TrainingEstimate]) -> TrainingEstimate:
    """The placement that takes the least, on the card if there is one."""
    on_card = [one for one in estimates if one.vram is not None]
    return min(on_card or estimates, key=lambda one: (one.vram or 0, one.ram))


def preview_bytes(variant: Variant, settings: FinetuneSettings) -> int:
    """The bytes that it takes to decode one preview of the largest resolution in fp32."""
    pixels = max(settings.resolutions) ** 2
    return decode_bytes(variant.autoencoder, torch.float32, pixels)


def kept_bytes(variant: Variant, settings: FinetuneSettings) -> tuple[int, int]:
    """Return what the cache takes on the disk: for a picture of the largest resolution, for a
    caption."""
    config, size = variant.transformer, getattr(torch, settings.precision).itemsize
    tokens = max(settings.resolutions) ** 2 // variant.size_multiple**2
    words = variant.text.max_tokens * config.context_in_dim + config.vec_in_dim
    return tokens * config.in_channels * torch.float16.itemsize, words * size


def _memory(
    costs: ModelCost, limit: MemoryLimit, placement: TrainingPlacement, most: int
) -> tuple[int, int | None, Lacking]:
    """The bytes of memory and of a card's memory at the fullest moment, at which `most` bytes lie
    where the training computes, and the one that is too little."""
    lacks: Lacking = ""
    if placement.device == "cpu":
        ram, vram = limit.process + LIBRARIES + most, None
    else:
        networks = (costs.transformer, *costs.text)
        passing = max(one.passing(placement.settings.keep) for one in networks)
        ram, vram = limit.process + LIBRARIES + HOST_OF_CARD + 2 * passing, CARD + most
        if vram > (limit.vram or 0):
            lacks = "vram"
    return ram, vram, "ram" if ram > limit.ram else lacks


def _estimate(
    costs: ModelCost,
    limit: MemoryLimit,
    speeds: DeviceSpeed,
    placement: TrainingPlacement,
    processes: int,
) -> TrainingEstimate:
    settings, variant = placement.settings, costs.variant
    keep, quantized, full = settings.keep, settings.quantize is not None, settings.method == "full"
    dtype = torch.float32 if full else getattr(torch, settings.precision)
    held = costs.transformer.held(keep, dtype, quantized)
    kept = None if keep == "plain" and not quantized else held
    pieces = 0 if kept is None else PIECES[placement.device]
    training = training_bytes(variant, settings, placement.recompute, processes, kept)
    preparing = _preparing(costs, settings)
    loading = held + costs.transformer.passing(keep)  # each process reads all, then keeps a share
    spread = _spread(variant, placement, processes)
    inside = training.total + round((spread - 1) * training.activations) + pieces
    most = max(preparing, loading, inside)
    ram, vram, lacks = _memory(costs, limit, placement, most)
    typical = TYPICAL[placement.device]
    guessed = DeviceSpeed(
        speeds.flops or typical.flops,
        speeds.unpacked or typical.unpacked,
        speeds.disk or typical.disk,
    )
    cost = _step_seconds(costs, placement, guessed, processes)
    assert cost is not None  # every rate is known
    return TrainingEstimate(
        placement,
        preparing,
        loading,
        training,
        ram,
        vram,
        checkpoint_bytes(variant, settings),
        _step_seconds(costs, placement, speeds, processes),
        cost,
        lacks,
    )


def _spread(variant: Variant, placement: TrainingPlacement, processes: int) -> float:
    """Return what an allocator takes, for the activations that it hands out."""
    width = variant.transformer.hidden_size * getattr(torch, placement.settings.precision).itemsize
    if placement.device != "cpu" or _tokens(variant, placement.settings, processes) * width >= HEAP:
        return FRAGMENTS
    return HOLES_RECOMPUTED if placement.recompute else HOLES


def _tokens(variant: Variant, settings: FinetuneSettings, processes: int) -> int:
    """Image and text tokens of one process's share of a batch."""
    image = max(settings.resolutions) ** 2 // variant.size_multiple**2
    return -(-settings.batch_size // processes) * (image + variant.text.max_tokens)


def _preparing(costs: ModelCost, settings: FinetuneSettings) -> int:
    """First the text encoders read the captions, then the autoencoder, in fp32, the pictures."""
    dtype, variant = getattr(torch, settings.precision), costs.variant
    reading = 0
    if variant.text.t5 is not None:
        one = encode_bytes(variant.text.t5, dtype, variant.text.max_tokens)
        reading = CAPTIONS_AT_ONCE * one
    keep: Keep = settings.keep if settings.keep in costs.text_keeps else "plain"
    held = sum(one.held(keep, dtype, quantized=False) for one in costs.text)
    passing = max(one.passing(keep) for one in costs.text)
    pixels = max(settings.resolutions) ** 2
    seeing = picture_encode_bytes(variant.autoencoder, torch.float32, pixels)
    autoencoder = costs.autoencoder.held("plain", torch.float32, quantized=False)
    return max(held + max(passing, reading), autoencoder + seeing)


def _step_seconds(
    costs: ModelCost, placement: TrainingPlacement, speeds: DeviceSpeed, processes: int
) -> float | None:
    """The seconds of a step in one process, None without a known speed: forward once, backward
    as much again for the inputs of each layer, and as much for its weights where these are
    trained. Frozen weights are decoded at every pass."""
    variant, settings, weights = costs.variant, placement.settings, costs.transformer
    tokens = max(settings.resolutions) ** 2 // variant.size_multiple**2 + variant.text.max_tokens
    pictures = -(-settings.batch_size // processes)
    passes = 3 if placement.recompute else 2
    computed = passes + (settings.method == "full")
    if speeds.flops is None:
        return None
    seconds = computed * pictures * call_flops(variant.transformer, tokens) / speeds.flops
    if settings.keep == "plain" and settings.quantize is None:
        return seconds
    if speeds.unpacked is None:
        return None
    seconds += passes * weights.used / speeds.unpacked
    if settings.keep != "mapped":
        return seconds
    if speeds.disk is None:
        return None
    return max(seconds, passes * weights.used * weights.stored / speeds.disk)
