"""Modulation beforehand: the same pictures, with the layers read once for many steps."""

import gc

import pytest
import torch
from safetensors.torch import save_file

from flux1 import FluxPipeline
from flux1.flow.solvers import SOLVERS
from flux1.model.blocks import Modulation
from flux1.model.modulation_cache import modulation_is_stored
from flux1.pipeline import modulation_cache
from flux1.pipeline.advance import advance
from flux1.request import make_request
from flux1.weights.numbers.quantize import quantize_layers
from lora_files import make_lora
from synthetic import make_diffusers_folder


@pytest.fixture
def pipe():
    found = FluxPipeline.from_pretrained("tiny")
    quantize_layers(found.transformer, "int8")
    return found


@pytest.fixture
def calls(pipe):
    """How many rows each call of a modulation layer had, of the first of them."""
    found = []
    first = next(m for m in pipe.transformer.modules() if isinstance(m, Modulation))
    first.lin.register_forward_hook(lambda _, args, __: found.append(len(args[0])))
    return found


def jobs_of(pipe, *requests):
    made = [make_request(pipe.variant, "a fox", **fields) for fields in requests]
    return [pipe.start(request, request.seed) for request in made]


def finish(jobs, transformer):
    while waiting := [job for job in jobs if not job.done]:
        advance(waiting, transformer)
    return [job.x for job in jobs]


def without(jobs):
    for job in jobs:
        job._schedule = ()
    return jobs


@pytest.mark.parametrize("solver", SOLVERS)
def test_times_of_a_solver_are_known_beforehand(pipe, solver):
    (job,) = jobs_of(pipe, {"seed": 1, "steps": 5, "solver": solver})
    asked = []
    while not job.done:
        asked.append(job.t)
        advance([job], pipe.transformer)
    assert len(asked) == 5 * SOLVERS[solver].evaluations
    assert list(job._schedule) == asked
    assert SOLVERS[solver].times([1.0, 0.5, 0.0])[0] == 1.0


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("true_cfg", [1.0, 3.0])
def test_a_picture_has_the_same_bits(pipe, calls, solver, true_cfg):
    fields = {"seed": 3, "steps": 4, "solver": solver, "true_cfg": true_cfg}
    (plain,) = finish(without(jobs_of(pipe, fields)), pipe.transformer)
    evaluations = 4 * SOLVERS[solver].evaluations
    rows = 2 if true_cfg > 1 else 1
    assert calls == [rows] * evaluations
    calls.clear()
    (drawn,) = finish(jobs_of(pipe, fields), pipe.transformer)
    times = set(jobs_of(pipe, fields)[0]._schedule)
    assert calls == [rows * len(times)]
    assert torch.equal(drawn, plain)


def test_jobs_that_come_and_go(pipe, calls, monkeypatch):
    """Each is computed a few steps ahead, those that are alike once; all share the steps' calls."""
    monkeypatch.setattr(modulation_cache, "ROWS_AHEAD", 6)
    requests = [
        {"seed": 1, "steps": 5},
        {"seed": 2, "steps": 5},
        {"seed": 3, "steps": 3, "true_cfg": 2.0},
        {"seed": 4, "steps": 2, "solver": "heun"},
    ]
    alone = [finish(without(jobs_of(pipe, one)), pipe.transformer)[0] for one in requests]
    calls.clear()
    jobs = jobs_of(pipe, *requests)
    advance(jobs[:2], pipe.transformer)
    assert calls == [3]  # two jobs, three evaluations each, of which those of both are the same
    advance(jobs, pipe.transformer)
    finish(jobs, pipe.transformer)
    for job, x in zip(jobs, alone, strict=True):
        assert (job.x - x).abs().max() < 1e-5


def test_a_lora_on_the_modulation_counts(pipe, tmp_path):
    made = make_lora("diffusers", pipe.transformer.config, dict(pipe_state()))
    assert any("norm" in name for name in made.tensors)
    file = tmp_path / "lora.safetensors"
    save_file({k: t.contiguous() for k, t in made.tensors.items()}, file, made.metadata)
    pipe.load_lora(file, name="style")
    fields = {"seed": 3, "steps": 3}
    with_it = fields | {"loras": [("style", 0.8)]}
    expected = finish(without(jobs_of(pipe, with_it)), pipe.transformer)[0]
    (drawn, plain) = finish(jobs_of(pipe, with_it, fields), pipe.transformer)
    assert (drawn - expected).abs().max() < 1e-5
    assert (drawn - plain).abs().max() > 1e-3
    assert (plain - finish(without(jobs_of(pipe, fields)), pipe.transformer)[0]).abs().max() < 1e-5


def pipe_state():
    return FluxPipeline.from_pretrained("tiny").transformer.state_dict()


def test_a_plain_network_computes_it_in_each_call():
    plain = FluxPipeline.from_pretrained("tiny")
    (job,) = jobs_of(plain, {"seed": 1, "steps": 2})
    first = next(m for m in plain.transformer.modules() if isinstance(m, Modulation))
    found = []
    first.lin.register_forward_hook(lambda _, args, __: found.append(len(args[0])))
    for evaluations in (1, 2):
        advance([job], plain.transformer)
        assert found == [1] * evaluations


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_diffusers_folder(tmp_path_factory.mktemp("flux"))


@pytest.mark.parametrize("keep", ["packed", "mapped"])
def test_a_pipeline_whose_weights_are_stored(folder, keep):
    """Encoders and transformer alike: the picture of the plain weights."""
    load = FluxPipeline.from_pretrained
    plain, stored = load(folder), load(folder, keep=keep)
    assert modulation_is_stored(stored.transformer)
    fields = {"seed": 3, "steps": 3, "width": 64, "height": 64}
    drawn, expected = (
        finish(jobs_of(each, fields), each.transformer)[0] for each in (stored, plain)
    )
    assert (drawn - expected).abs().max() < 1e-5


def test_numbers_are_gone_with_the_jobs_that_wanted_them(pipe):
    cache = modulation_cache.modulation_cache(pipe.transformer)
    jobs = jobs_of(pipe, {"seed": 1, "steps": 3}, {"seed": 2, "steps": 3, "guidance": 1.0})
    advance(jobs, pipe.transformer)
    assert len(cache._numbers) == 6
    jobs.pop()
    gc.collect()
    assert len(cache._numbers) == 3
    jobs.pop()
    gc.collect()
    assert len(cache._numbers) == 0
