"""Which ways fit: what must hold whatever the numbers are, and a few numbers known by hand."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from flux1.pipeline.device_speed import DeviceSpeed
from flux1.pipeline.memory_limit import MemoryLimit
from flux1.pipeline.model_cost import model_cost
from flux1.pipeline.plan import CARD, OFFLOADS, Workload, enough, plan, too_little
from flux1.request import make_request
from flux1.variants import FLUX_DEV, FLUX_MINI, TINY
from flux1.weights.sources import locate

GB = 10**9
CPU, CUDA = {"cpu": torch.float32}, {"cuda": torch.bfloat16}
PROCESS = 400_000_000
RATES = DeviceSpeed(flops=3e11, unpacked=2e9, disk=1e9)


@pytest.fixture(scope="module")
def dev():
    return model_cost(FLUX_DEV)


def workload(side=1024, variant=FLUX_DEV, **changes):
    return Workload.of(
        variant, [make_request(variant, "a fox", width=side, height=side, seed=0, **changes)]
    )


def test_work_adds_up_what_is_asked_for():
    requests = [
        make_request(FLUX_DEV, "a fox", seed=0, width=512, height=256, num_images=3, steps=9),
        make_request(FLUX_DEV, "a cat", seed=0, width=256, height=256, true_cfg=2.0, solver="heun",
                     steps=5),
    ]  # fmt: skip
    found = Workload.of(FLUX_DEV, requests)
    assert (found.width, found.height, found.row_tokens) == (512, 256, 32 * 16 + 512)
    assert (found.rows, found.pictures, found.prompts) == (5, 4, 3)
    assert (found.steps, found.evaluations) == (9, 10)
    longer = Workload.of(FLUX_DEV, [make_request(FLUX_DEV, "a fox", seed=0, like="comfyui")])
    assert longer.text_tokens == 256


def test_with_room_for_all_nothing_leaves_and_nothing_stays_in_files(dev):
    first = plan(dev, workload(), MemoryLimit(100 * GB, PROCESS), CPU)[0]
    placement = first.placement
    assert (placement.keep, placement.keep_text, placement.offload, placement.exact_tiling) == (
        "plain",
        "plain",
        "none",
        False,
    )
    weights = 4 * (11_901_408_320 + 4_762_310_656 + 123_060_480 + 83_819_683)
    assert weights < first.ram - PROCESS < weights + 6 * GB


@pytest.mark.parametrize("size", [64, 32, 24, 16, 8, 4, 3])
def test_what_is_said_to_fit_fits_and_the_fastest_is_first(dev, size):
    limit = MemoryLimit(size * GB, PROCESS)
    found = plan(dev, workload(), limit, CPU, {("cpu", None): RATES})
    fitting = [one for one in found if not one.lacks]
    assert fitting
    assert all(one.ram <= limit.ram for one in fitting)
    assert all(one.ram > limit.ram and one.lacks == "ram" for one in found[len(fitting) :])
    assert all(a.cost <= b.cost for a, b in pairwise(fitting))
    assert all(one.step_s > 200 for one in found)  # 74 TFLOP at 0.3 TFLOP/s


def test_more_room_is_never_slower(dev):
    costs = [
        plan(dev, workload(), MemoryLimit(size * GB, PROCESS), CPU)[0].cost
        for size in (3, 4, 6, 10, 30, 60, 90)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]


def test_a_card_counts_for_itself(dev):
    found = plan(dev, workload(), MemoryLimit(32 * GB, PROCESS, 12 * GB), CUDA)
    assert [one.placement.keep for one in found] == ["mapped", "plain"]  # packed is no smaller
    assert found[0].vram <= 12 * GB
    assert found[1].lacks == "vram"
    assert found[1].vram > 2 * 11_901_408_320 + CARD
    assert (
        plan(dev, workload(), MemoryLimit(32 * GB, PROCESS, 80 * GB), CUDA)[0].placement.offload
        == "none"
    )
    assert plan(dev, workload(), MemoryLimit(1 * GB, PROCESS, 80 * GB), CUDA)[0].lacks == "ram"


def test_eight_bits_are_a_way_of_their_own(dev):
    found = plan(dev, workload(), MemoryLimit(32 * GB, PROCESS), CPU, None, (None, "int8_dynamic"))
    of_eight = [one for one in found if one.placement.quantize]
    (one,) = of_eight
    assert one.placement.keep == "plain"
    assert one.ram < 0.6 * next(
        e.ram for e in found if e.placement.keep == "plain" and e is not one
    )


@pytest.mark.parametrize(("side", "limit"), [
    (1024, MemoryLimit(10**7, PROCESS)), (256, MemoryLimit(10**7, PROCESS)),
    (2048, MemoryLimit(2 * GB, PROCESS)),
    (1024, MemoryLimit(32 * GB, PROCESS, GB)), (1024, MemoryLimit(GB, PROCESS, 80 * GB)),
])  # fmt: skip
def test_the_least_that_would_do_does_and_half_of_it_does_not(dev, side, limit):
    devices = CPU if limit.vram is None else CUDA
    found = plan(dev, workload(side), limit, devices)
    assert found[0].lacks
    wanted = enough(found, limit)
    assert not plan(dev, workload(side), wanted, devices)[0].lacks
    for field in ("ram", "vram"):
        if getattr(wanted, field) != getattr(limit, field):
            less = replace(wanted, **{field: getattr(wanted, field) * 9 // 10})
            assert plan(dev, workload(side), less, devices)[0].lacks


def test_too_little_is_said_in_one_line_with_the_least(dev):
    limit = MemoryLimit(10**7, PROCESS)
    found = plan(dev, workload(), limit, CPU)
    told = str(too_little(FLUX_DEV, workload(), limit, found))
    least = enough(found, limit).ram
    assert told == (
        "memory: 10 MB of memory is too little for flux-dev at 1024x1024; the least that does is "
        f"{least / 1e9:.2f} GB"
    )


def test_rows_share_a_call_as_far_as_memory_allows(dev):
    many = workload(
        num_images=3, true_cfg=2.0
    )  # 6 rows of 4608 tokens, of which 16384 share a call
    assert (
        plan(dev, many, MemoryLimit(100 * GB, PROCESS), CPU)[0].placement.tokens_per_call
        == 3 * 4608
    )
    least = enough(plan(dev, many, MemoryLimit(1, PROCESS), CPU), MemoryLimit(1, PROCESS))
    assert plan(dev, many, least, CPU)[0].placement.tokens_per_call == 4608


def test_a_large_picture_is_decoded_in_strips_where_a_whole_one_does_not_fit(dev):
    found = [
        plan(dev, workload(2048), MemoryLimit(size * GB, PROCESS), CPU)[0].placement
        for size in (100, 30, 12)
    ]
    assert [placement.exact_tiling for placement in found] == [False, False, True]


def test_loras_take_their_place(dev):
    plain, with_loras = (
        plan(dev, replace(workload(), loras=size), MemoryLimit(99 * GB, PROCESS), CPU)[0]
        for size in (0, GB)
    )
    assert with_loras.ram - plain.ram == 2 * GB  # 16 bits in the file, 32 here


def test_what_is_not_known_is_not_told(dev):
    unknown = plan(dev, workload(), MemoryLimit(8 * GB, PROCESS), CPU)
    assert all(one.step_s is None and one.total_s is None for one in unknown)
    without_disk = DeviceSpeed(flops=3e11, unpacked=2e9)
    found = plan(
        dev, workload(), MemoryLimit(100 * GB, PROCESS), CPU, {("cpu", None): without_disk}
    )
    assert all(one.total_s is None for one in found)
    plain = next(one for one in found if one.placement.keep == "plain")
    assert plain.step_s == pytest.approx(74.4e12 / 3e11, rel=0.01)


def test_a_step_from_the_file_takes_as_long_as_the_disk_if_that_is_slower(dev):
    slow = DeviceSpeed(flops=1e15, unpacked=1e15, disk=1e9)
    (one,) = [
        one
        for one in plan(dev, workload(), MemoryLimit(8 * GB, PROCESS), CPU, {("cpu", None): slow})
        if one.placement.keep == "mapped"
    ]
    read_each_time = 11_898_322_944 - dev.transformer.once
    assert one.step_s == pytest.approx(2 * read_each_time / 1e9, rel=0.01)
    fits_in_cache = plan(dev, workload(), MemoryLimit(60 * GB, PROCESS), CPU, {("cpu", None): slow})
    assert all(one.step_s < 1 for one in fits_in_cache)


@pytest.mark.parametrize("variant", [TINY, FLUX_MINI], ids=lambda v: v.id)
def test_models_that_are_here_are_planned_from_their_files(variant):
    costs = model_cost(locate(variant))
    found = plan(costs, workload(64, variant), MemoryLimit(8 * GB, PROCESS), CPU)
    assert not found[0].lacks
    assert found[0].placement.offload == OFFLOADS[0]
    assert {one.placement.keep for one in found} == set(costs.keeps)
