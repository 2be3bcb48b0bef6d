"""Which ways of training fit: what must hold whatever the numbers are, and a few known by hand."""

from dataclasses import replace

import pytest
import torch

from flux1.errors import DataError
from flux1.pipeline.device_speed import DeviceSpeed
from flux1.pipeline.memory_limit import MemoryLimit
from flux1.pipeline.model_cost import model_cost
from flux1.pipeline.plan import CARD
from flux1.training.finetune.plan import kept_bytes, least, plan_training
from flux1.variants import FLUX_DEV, FLUX_MINI
from flux1.weights.sources import locate

GB = 10**9
PROCESS = 400_000_000
CPU, CUDA = {"cpu": torch.float32}, {"cuda": torch.bfloat16}
RATES = DeviceSpeed(flops=1e14, unpacked=1e11, disk=2e9)


@pytest.fixture(scope="module")
def dev():
    return model_cost(FLUX_DEV)


def ways(dev, limit, dtypes=CUDA, speeds=RATES, **given):
    device = next(iter(dtypes))
    return plan_training(dev, limit, dtypes, {device: speeds}, **given)


@pytest.mark.parametrize("size", [80, 40, 24, 16, 12, 6])
def test_what_is_said_to_fit_fits_and_the_fastest_is_first(dev, size):
    found = ways(dev, MemoryLimit(64 * GB, PROCESS, size * GB))
    fitting = [one for one in found if not one.lacks]
    assert fitting
    assert all(one.vram <= size * GB for one in fitting)
    assert all(one.vram > size * GB and one.lacks == "vram" for one in found[len(fitting) :])
    times = [one.step_s for one in fitting]
    assert times == sorted(times)


def test_recomputing_takes_less_memory_and_half_as_much_time_again(dev):
    found = ways(dev, MemoryLimit(99 * GB, PROCESS, 200 * GB))
    plain = [one for one in found if one.placement.settings.keep == "plain"]
    kept, again = (
        next(
            one
            for one in plain
            if one.placement.recompute is how and not one.placement.settings.quantize
        )
        for how in (False, True)
    )
    assert again.vram < 0.6 * kept.vram
    assert again.step_s == pytest.approx(1.5 * kept.step_s)


def test_one_step_of_flux_dev_is_the_work_that_it_is(dev):
    """74.4 TFLOP forward at 1024x1024, as much again backward."""
    found = ways(dev, MemoryLimit(99 * GB, PROCESS, 200 * GB))
    assert found[0].step_s == pytest.approx(2 * 74.4e12 / 1e14, rel=0.01)
    full = ways(dev, MemoryLimit(99 * GB, PROCESS, 900 * GB), method="full")
    assert full[0].step_s == pytest.approx(3 * 74.4e12 / 1e14, rel=0.01)


def test_the_fullest_part_of_a_run_counts(dev):
    for one in ways(dev, MemoryLimit(99 * GB, PROCESS, 200 * GB)):
        parts = (one.preparing, one.loading, one.training.total)
        assert max(parts) + CARD <= one.vram <= 1.12 * max(parts) + CARD + 5 * 10**8


def test_processes_share_what_they_train_but_each_reads_all(dev):
    limit = MemoryLimit(400 * GB, PROCESS, 80 * GB)
    given = {"method": "full", "batch_size": 8}
    alone, shared = (ways(dev, limit, processes=n, **given)[0] for n in (1, 8))
    assert alone.lacks == "vram"
    assert shared.lacks == ""
    assert shared.training.trained == alone.training.trained // 8
    assert shared.loading == alone.loading >= 4 * 11_901_408_320


def test_where_no_rate_is_known_the_order_is_still_that_of_work(dev):
    found = ways(dev, MemoryLimit(99 * GB, PROCESS, 200 * GB), speeds=DeviceSpeed())
    assert all(one.step_s is None for one in found)
    assert (found[0].placement.settings.keep, found[0].placement.recompute) == ("plain", False)
    assert found[-1].placement.settings.keep == "mapped"


def test_the_least_is_the_least(dev):
    found = ways(dev, MemoryLimit(1 * GB, PROCESS, 1 * GB))
    assert all(one.lacks for one in found)
    assert least(found).vram == min(one.vram for one in found)


def test_a_rank_above_a_layers_width_is_one_line(dev):
    with pytest.raises(DataError, match=r"^rank: 5000 is above the width of .*; nearest: 3072$"):
        ways(dev, MemoryLimit(99 * GB, PROCESS, 99 * GB), rank=5000)


def test_the_cache_is_as_large_as_what_is_kept():
    mini = plan_training(model_cost(locate("flux-mini")), MemoryLimit(9 * GB, PROCESS), CPU, {})
    settings = mini[0].placement.settings
    assert kept_bytes(FLUX_MINI, settings) == (64 * 64 * 2, (32 * 384 + 384) * 4)
    larger = replace(settings, resolutions=(128, 512))
    assert kept_bytes(FLUX_MINI, larger)[0] == 256 * 64 * 2
