"""The whole path on random weights: seeds, batches, solvers, previews, guidance."""

import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from flux1.errors import Flux1Error, RequestError, UnknownModelError
from flux1.events import Finished, Step
from flux1.flow.guidance import classifier_free, embedded
from flux1.flow.schedule import sampling_times
from flux1.flow.solvers import SOLVERS
from flux1.habits import ATTRIBUTES
from flux1.pipeline.advance import advance
from flux1.pipeline.job import Job
from flux1.request import make_request


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


def test_the_same_call_draws_the_same_picture(tiny):
    first, second = (tiny("a fox", seed=4, steps=3).images[0] for _ in range(2))
    assert np.array_equal(pixels(first), pixels(second))
    assert first.size == (64, 64)
    assert pixels(first).std() > 1


def test_a_batch_of_four_seeds_is_four_single_pictures(tiny):
    batch = tiny("a fox", seed=10, num_images=4, steps=3)
    assert batch.seeds == [10, 11, 12, 13]
    for seed, picture in zip(batch.seeds, batch.images, strict=True):
        alone = tiny("a fox", seed=seed, steps=3).images[0]
        assert np.abs(pixels(picture) - pixels(alone)).max() <= 1


def test_several_prompts_are_answered_by_a_list(tiny):
    asked = {"seed": 3, "num_images": 2, "steps": 2}
    together = tiny(["a fox", "a tree"], **asked)
    for prompt, found in zip(("a fox", "a tree"), together, strict=True):
        alone = tiny(prompt, **asked)
        assert (found.request, found.seeds) == (alone.request, [3, 4])
        for one, other in zip(found.images, alone.images, strict=True):
            assert np.abs(pixels(one) - pixels(other)).max() <= 1
    with pytest.raises(RequestError, match="neither text nor a list of texts"):
        tiny([])


def test_bars_are_shown_on_a_terminal_and_silent_when_asked(tiny, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any stream for a terminal
    for progress, seen in ((False, False), (None, True)):
        type(tiny).from_pretrained("tiny", progress=progress)
        assert ("loading tiny" in capsys.readouterr().err) is seen
        tiny("a fox", steps=2, progress=progress)
        assert ("2/2" in capsys.readouterr().err) is seen


def test_to_is_understood_where_it_changes_nothing_and_answered_elsewhere(tiny):
    assert tiny.to("cpu") is tiny.to(torch.device("cpu", 0)) is tiny.to(torch.float32) is tiny
    with pytest.raises(Flux1Error, match=r"from_pretrained\(..., dtype='bfloat16'\)"):
        tiny.to(torch.bfloat16)


def test_habits_of_diffusers_are_answered_with_what_does_the_same(tiny):
    from diffusers import FluxPipeline

    for name in ATTRIBUTES:
        assert hasattr(FluxPipeline, name) or name in inspect.signature(FluxPipeline).parameters
        with pytest.raises(AttributeError, match=f"no attribute '{name}'; here it is "):
            getattr(tiny, name)
    with pytest.raises(AttributeError, match=r"no attribute 'transfomer'$"):
        _ = tiny.transfomer


def test_seed_prompt_guidance_and_solver_each_change_the_picture(tiny):
    base = {"seed": 1, "steps": 3}
    reference = pixels(tiny("a fox", **base).images[0])
    for change in (
        {"seed": 2},
        {"guidance": 9.0},
        {"solver": "heun"},
        {"true_cfg": 4.0},
        {"true_cfg": 4.0, "negative_prompt": "a tree"},
    ):
        assert not np.array_equal(reference, pixels(tiny("a fox", **base | change).images[0]))
    assert not np.array_equal(reference, pixels(tiny("a tree", **base).images[0]))


def test_sizes_are_kept(tiny):
    assert tiny("a fox", width=96, height=48, steps=1, seed=0).images[0].size == (96, 48)


@pytest.mark.parametrize("solver", SOLVERS)
def test_steps_are_told_in_order_with_previews(tiny, solver):
    told: list[Step] = []
    drawn = tiny("a fox", seed=3, steps=4, solver=solver, callback=told.append)
    assert [s.step for s in told] == [1, 2, 3, 4]
    assert all(a.t > b.t for a, b in pairwise(told))
    last = told[-1].preview()
    if solver in ("euler", "dpmpp_2m"):  # their last step lands on the clean estimate
        assert np.abs(pixels(last) - pixels(drawn.images[0])).max() <= 1


def test_requests_of_different_shapes_and_lengths_share_one_stream(tiny):
    requests = [
        make_request(tiny.variant, "a fox", seed=1, steps=2),
        make_request(tiny.variant, "a tree", seed=2, steps=5, width=96),
        make_request(tiny.variant, "a hat", seed=3, steps=3, true_cfg=2.0, solver="heun"),
    ]
    events = list(tiny.stream(requests))
    drawn = {e.image: e.picture for e in events if isinstance(e, Finished)}
    for i, request in enumerate(requests):
        alone = tiny.draw(request).images[0]
        assert np.abs(pixels(drawn[i]) - pixels(alone)).max() <= 1


def job(tiny, seed, steps, solver, guidance):
    noise = torch.randn(16, 64, generator=torch.Generator().manual_seed(seed))
    conditions = {"prompt": tiny.encode("a fox"), "negative": tiny.encode("")}
    times = sampling_times(steps, 0.5)
    return Job(noise, times, SOLVERS[solver], conditions, guidance, 3.5, (4, 4))


def test_advancing_eight_jobs_together_equals_each_alone(tiny):
    kinds = [
        (seed, steps, solver, guidance)
        for seed, (steps, solver, guidance) in enumerate(
            [(2, "euler", embedded()), (3, "heun", classifier_free(3.0)),
             (5, "dpmpp_2m", embedded()), (4, "midpoint", classifier_free(1.5))] * 2
        )
    ]  # fmt: skip
    together = [job(tiny, *kind) for kind in kinds]
    calls = 0
    while waiting := [j for j in together if not j.done]:
        advance(waiting, tiny.transformer)
        calls += 1
    assert calls == 8  # as many as the longest job (midpoint, 4 steps of 2), not their sum
    for kind, finished in zip(kinds, together, strict=True):
        alone = job(tiny, *kind)
        while not alone.done:
            advance([alone], tiny.transformer)
        torch.testing.assert_close(finished.x, alone.x, atol=1e-4, rtol=1e-4)


def test_values_that_are_not_finite_stop_the_job_with_advice(tiny):
    broken = job(tiny, 0, 2, "euler", embedded())
    with pytest.raises(Flux1Error, match=r"not finite at t = 1\.000.*float32"):
        broken.receive([torch.full((16, 64), float("nan"))])


def test_what_the_encoder_cannot_read_is_told(tiny):
    words = "a fox " * 20 + "and an owl"
    assert tiny(words, steps=1, seed=0).dropped.endswith("and an owl")
    assert tiny("a fox", steps=1, seed=0).dropped == ""


def test_bad_requests_and_names_are_refused(tiny):
    with pytest.raises(RequestError, match="nearest: 64"):
        tiny("a fox", width=70)
    with pytest.raises(UnknownModelError, match="did you mean 'flux-mini'"):
        type(tiny).from_pretrained("flux-mimi")
    with pytest.raises(Flux1Error, match="dtype: 'float3' is not one of"):
        type(tiny).from_pretrained("tiny", dtype="float3")
    with pytest.raises(Flux1Error, match="device: 'cdua' is not a device"):
        type(tiny).from_pretrained("tiny", device="cdua")
