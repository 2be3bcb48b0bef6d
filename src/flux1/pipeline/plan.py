"""Which ways of drawing fit into given memory, and about how long each takes. Pure arithmetic: no
network is loaded, nothing allocated.

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
from flux1.pipeline.footprint import (
    call_bytes,
    decode_bytes,
    encode_bytes,
    modulation_numbers,
    strips_bytes,
)
from flux1.pipeline.ledger import Ledger, Weights, call_flops, decode_flops, encode_flops
from flux1.pipeline.memory import bytes_text
from flux1.pipeline.modulation_cache import ROWS_AHEAD
from flux1.pipeline.rates import Rates
from flux1.pipeline.room import Room
from flux1.request import ImageRequest
from flux1.variants import Variant
from flux1.weights.numbers.keep import Keep
from flux1.weights.numbers.quantize import Quantization

Device = Literal["cpu", "cuda"]
Stages = Literal["together", "text first", "one by one"]
STAGES: tuple[Stages, ...] = ("together", "text first", "one by one")
Lacking = Literal["", "ram", "vram"]

# What no formula counts, in bytes: a weight that is being decoded, some rows at a time; on a card,
# CUDA itself and its kernels' workspaces; in the process, CUDA's libraries.
PIECES: dict[Device, int] = {"cpu": 100_000_000, "cuda": 500_000_000}
CARD, HOST_OF_CARD = 600_000_000, 1_000_000_000
FRAGMENTS = 1.1  # what an allocator takes, for what it hands out
STRIPS_WORK = 1.35  # of a decode by strips, in whole ones
ALIKE = 1.05  # times of a smaller ratio are taken for equal: the simpler way is preferred
TYPICAL: dict[Device, Rates] = {  # what orders the ways where no rate is known
    "cpu": Rates(flops=3e11, unpacked=2e9, disk=1e9),
    "cuda": Rates(flops=1e14, unpacked=1e11, disk=2e9),
}


@dataclass(frozen=True)
class Work:
    """What is drawn: at each of `evaluations` points of the path, `rows` of so many tokens. `loras`
    are the bytes of LoRA files that stay beside the networks."""

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
    def of(cls, variant: Variant, requests: Sequence[ImageRequest]) -> "Work":
        """Of requests that are drawn together: the largest size and the longest path count."""
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
class Way:
    """A way to draw. `keep` and `quantize` are the transformer's, `keep_text` the text encoders'.

    `stages`: which networks are in memory at once: all; all but the text encoders, which leave
    before the others come; or one.
    """

    device: Device
    dtype: torch.dtype
    keep: Keep
    keep_text: Keep
    quantize: Quantization | None
    stages: Stages
    in_strips: bool
    tokens_per_call: int


@dataclass(frozen=True)
class Estimate:
    """What a way would take: bytes at the fullest moment, of the process' memory and of a card's;
    seconds of a step, and of all with loading, None where a rate is not known. `lacks` names the
    memory that is too little, '' if it fits. The ways are ordered by `cost`: seconds that drawing
    takes once everything was read."""

    way: Way
    ram: int
    vram: int | None
    step_s: float | None
    total_s: float | None
    cost: float
    lacks: Lacking


def plan(
    ledger: Ledger,
    work: Work,
    room: Room,
    dtypes: Mapping[Device, torch.dtype],
    rates: Mapping[tuple[Device, Quantization | None], Rates] | None = None,
    quantizations: Sequence[Quantization | None] = (None,),
) -> list[Estimate]:
    """One way for each device (of the dtype that it computes in), quantisation, and way to keep the
    transformer: the fastest that fits, or else the one that comes nearest.

    Those that fit come first, the fastest first of all; of ways that take as long, the simplest.
    """
    found = []
    for device, keep, quantize in product(dtypes, ledger.keeps, quantizations):
        if quantize is not None and keep != "plain":
            continue  # what stays as its file has it is quantised there
        if keep == "packed" and ledger.transformer.stored >= dtypes[device].itemsize:
            continue  # as large as plain, or larger
        known = (rates or {}).get((device, quantize), Rates())
        estimates = [
            _estimate(
                ledger, work, room, known,
                Way(device, dtypes[device], keep, keep_text, quantize, stages, in_strips, tokens),
            )
            for tokens, keep_text, stages, in_strips in product(
                _calls(work), ledger.text_keeps, STAGES, (False, True)
            )  # the simplest first
        ]  # fmt: skip
        fitting = [one for one in estimates if not one.lacks]
        fastest = min((one.cost for one in fitting), default=0.0)
        found.append(
            next(one for one in fitting if one.cost <= ALIKE * fastest)
            if fitting
            else min(estimates, key=lambda one: _excess(one, room))
        )
    return sorted(found, key=lambda one: (bool(one.lacks), one.cost))


def enough(estimates: Sequence[Estimate], room: Room) -> Room:
    """The nearest room in which one of these ways would do, none of which fits."""
    nearest = min(estimates, key=lambda one: _excess(one, room))
    ram = room.ram if nearest.ram <= room.ram else _rounded(nearest.ram)
    if room.vram is None or nearest.vram is None or nearest.vram <= room.vram:
        return replace(room, ram=ram)
    return replace(room, ram=ram, vram=_rounded(nearest.vram))


def too_little(
    variant: Variant, work: Work, room: Room, estimates: Sequence[Estimate]
) -> Flux1Error:
    """What to say where none of these ways fits: the least that would do."""
    wanted = enough(estimates, room)
    of_card = wanted.vram is not None and room.vram is not None and wanted.vram > room.vram
    had, least = (room.vram, wanted.vram) if of_card else (room.ram, wanted.ram)
    assert had is not None
    assert least is not None
    return Flux1Error(
        f"memory: {bytes_text(had)} of {'graphics memory' if of_card else 'memory'} is too little "
        f"for {variant.id} at {work.width}x{work.height}; the least that does is "
        f"{bytes_text(least)}"
    )


def _estimate(ledger: Ledger, work: Work, room: Room, rates: Rates, way: Way) -> Estimate:
    there = _fullest(ledger, work, way)
    lacks: Lacking = ""
    if way.device == "cpu":
        ram, vram = room.process + there, None
    else:
        passing = max(one.passing(way.keep) for one in (ledger.transformer, *ledger.text))
        ram, vram = room.process + HOST_OF_CARD + 2 * passing, CARD + there
        if vram > (room.vram or 0):
            lacks = "vram"
    if ram > room.ram:
        lacks = "ram"
    cached = ledger.transformer.file_bytes <= room.ram - ram
    typical = TYPICAL[way.device]
    guessed = Rates(
        rates.flops or typical.flops,
        rates.unpacked or typical.unpacked,
        rates.disk or typical.disk,
    )
    step_s, total_s, _ = _seconds(ledger, work, way, rates, cached)
    *_, cost = _seconds(ledger, work, way, guessed, cached)
    assert cost is not None  # every rate is known
    return Estimate(way, ram, vram, step_s, total_s, cost, lacks)


def _fullest(ledger: Ledger, work: Work, way: Way) -> int:
    """Bytes at the fullest moment, where the networks are."""
    dtype, quantized, variant = way.dtype, way.quantize is not None, ledger.variant
    pixels, pieces = work.width * work.height, PIECES[way.device]
    text = sum(one.held(way.keep_text, dtype, quantized) for one in ledger.text)
    transformer = ledger.transformer.held(way.keep, dtype, quantized)
    autoencoder = ledger.autoencoder.held("plain", dtype, quantized=False)
    others = transformer + autoencoder

    encoding = 0
    if variant.text.t5 is not None:
        encoding = encode_bytes(variant.text.t5, dtype, work.text_tokens)
    calling = call_bytes(variant.transformer, dtype, way.tokens_per_call)
    if way.keep != "plain" or quantized:  # two copies while it is computed, one from then on
        ahead = min(ROWS_AHEAD, work.rows * work.evaluations) * dtype.itemsize
        calling += 2 * ahead * modulation_numbers(variant.transformer)
    decoding = decode_bytes(variant.autoencoder, dtype, pixels)
    if way.in_strips:
        decoding = strips_bytes(variant.autoencoder, dtype, work.height, work.width)
    in_text = _busy(ledger.text, way.keep_text, encoding, pieces)
    in_transformer = _busy([ledger.transformer], way.keep, calling, pieces)
    in_autoencoder = _busy([ledger.autoencoder], "plain", decoding, 0)

    if way.stages == "together":
        most = text + others + max(in_text, in_transformer, in_autoencoder)
    elif way.stages == "text first":
        most = max(text + in_text, others + max(in_transformer, in_autoencoder))
    else:
        most = max(text + in_text, transformer + in_transformer, autoencoder + in_autoencoder)
    loras = work.loras * max(1, dtype.itemsize // 2)  # in their files, most often in 16 bits
    return most + loras


def _busy(networks: Sequence[Weights], keep: Keep, computing: int, pieces: int) -> int:
    """What comes on top of the weights while networks are loaded, or used."""
    passing = max(one.passing(keep) for one in networks)
    used = round(FRAGMENTS * computing)
    if keep == "plain":
        return max(passing, used)
    used += pieces
    return max(passing, used) if keep == "packed" else passing + used


def _seconds(
    ledger: Ledger, work: Work, way: Way, rates: Rates, cached: bool
) -> tuple[float | None, float | None, float | None]:
    """Of a step; of all, the first time; of all, when everything was read once before. A file that
    is `cached` is read from the disk only once."""
    flops, unpacked, disk = (
        math.nan if rate is None else rate for rate in (rates.flops, rates.unpacked, rates.disk)
    )

    def read(size: int) -> float:
        return size / disk if size else 0.0

    def use(weights: Weights, keep: Keep, computing: int, again: bool) -> float:
        seconds = computing / flops
        if keep != "plain" and weights.stored != way.dtype.itemsize:
            seconds += weights.used / unpacked
        if keep != "mapped" or (again and cached):
            return seconds
        return _longer(seconds, read(round(weights.used * weights.stored)))

    variant = ledger.variant
    encoding = encode_flops(variant.text, work.text_tokens) // len(ledger.text)
    at_once = way.tokens_per_call // work.row_tokens
    calls = math.ceil(work.rows / at_once)
    calling = min(work.rows, at_once) * call_flops(variant.transformer, work.row_tokens)
    decoding = decode_flops(variant.autoencoder, work.width * work.height) / flops

    def drawing(again: bool) -> float:
        encode = sum(use(one, way.keep_text, encoding, again) for one in ledger.text)
        first = calls * use(ledger.transformer, way.keep, calling, again)
        later = calls * use(ledger.transformer, way.keep, calling, again=True)
        decode = work.pictures * decoding * (STRIPS_WORK if way.in_strips else 1)
        return work.prompts * encode + first + (work.evaluations - 1) * later + decode

    load = read(ledger.autoencoder.file_bytes)
    if way.keep_text != "mapped":
        load += sum(read(one.file_bytes) for one in ledger.text)
    if way.keep != "mapped":
        load += read(ledger.transformer.file_bytes)
    step = calls * use(ledger.transformer, way.keep, calling, again=True)
    return (
        _known(step * work.evaluations / work.steps),
        _known(load + drawing(again=False)),
        _known(drawing(again=True)),
    )


def _calls(work: Work) -> list[int]:
    """Tokens that may share a call: of all rows, if that is not too many, halved down to one."""
    rows = max(1, min(work.rows, TOKENS_PER_CALL // work.row_tokens))
    return [(rows >> half) * work.row_tokens for half in range(rows.bit_length())]


def _excess(estimate: Estimate, room: Room) -> tuple[int, int]:
    """By how much a way does not fit; of ways that fit alike, the least."""
    over = max(0, estimate.ram - room.ram)
    if estimate.vram is not None:
        over += max(0, estimate.vram - (room.vram or 0))
    return over, estimate.ram + (estimate.vram or 0)


def _rounded(size: int) -> int:
    """Up, to 10 MB, and a little more: a process does not take the same each time."""
    return math.ceil((1.02 * size + 10_000_000) / 10_000_000) * 10_000_000


def _longer(one: float, other: float) -> float:
    return math.nan if math.isnan(one + other) else max(one, other)


def _known(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds
