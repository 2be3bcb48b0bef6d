"""LoRAs in the pipeline: by request, several at once, swapped and unloaded without a trace."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from flux1 import FluxPipeline
from flux1.errors import Flux1Error, RequestError, WeightsError
from flux1.events import Finished
from flux1.pipeline.advance import advance
from flux1.pipeline.lora import KEPT
from flux1.request import LoraUse, make_request
from flux1.weights.lora.read import merge_lora, read_lora
from lora_files import make_lora


@pytest.fixture(scope="module")
def files(tiny, tmp_path_factory):
    """One LoRA of each of four kinds for the tiny model, by kind."""
    folder, transformer = tmp_path_factory.mktemp("loras"), tiny.transformer
    found = {}
    for kind in ("kohya", "diffusers", "dora", "lokr", "bfl_control"):
        made = make_lora(kind, transformer.config, dict(transformer.state_dict()))
        found[kind] = str(folder / f"{kind}.safetensors")
        save_file({k: t.contiguous() for k, t in made.tensors.items()}, found[kind], made.metadata)
    return found


@pytest.fixture
def pipe():
    return FluxPipeline.from_pretrained("tiny")


def tokens(pipe, **fields):
    """The end of one picture's path."""
    request = make_request(pipe.variant, "a fox", seed=4, steps=2, **fields)
    job = pipe.start(request, 4)
    while not job.done:
        advance([job], pipe.transformer)
    return job.x


def pixels(pictures):
    return np.asarray(pictures.images[0]).astype(int)


def test_a_lora_draws_what_the_merged_weights_draw(pipe, files):
    for kind in ("kohya", "dora", "lokr"):
        pipe.load_lora(files[kind], name=kind)
    merged = FluxPipeline.from_pretrained("tiny")
    own = {name: tensor.clone() for name, tensor in merged.transformer.state_dict().items()}
    for kind in ("kohya", "dora", "lokr"):
        lora = read_lora(pipe.loaded_lora(kind).path, merged.transformer.config)
        merged.transformer.load_state_dict(dict(merge_lora(own, lora, 0.6)))
        assert (tokens(pipe, loras=[(kind, 0.6)]) - tokens(merged)).abs().max() < 1e-5
        assert (tokens(pipe, loras=[(kind, 0.6)]) - tokens(pipe)).abs().max() > 1e-2


def test_a_file_named_in_a_call_is_loaded_once_and_told(pipe, files, caplog):
    plain = pixels(pipe("a fox", seed=4, steps=2))
    first = pixels(pipe("a fox", seed=4, steps=2, loras=[files["kohya"]]))
    second = pixels(pipe("a fox", seed=4, steps=2, loras=[(files["kohya"], 1.0)]))
    assert np.array_equal(first, second)
    assert np.abs(first - plain).max() > 1
    told = [record.message for record in caplog.records if "modules touched" in record.message]
    assert told == [
        f"{files['kohya']}: kohya LoRA, rank 4, 23 modules touched, "
        "3 keys for text encoders not used (prompts are read without them)"
    ]


def test_scale_nought_and_unloading_are_the_plain_picture_bit_for_bit(pipe, files):
    plain, before = tokens(pipe), {k: t.clone() for k, t in pipe.transformer.state_dict().items()}
    modules = list(pipe.transformer.modules())
    for kind in ("kohya", "dora"):
        pipe.load_lora(files[kind], name=kind)
    assert torch.equal(tokens(pipe), plain)
    assert torch.equal(tokens(pipe, loras=[("kohya", 0.0), ("dora", 0.0)]), plain)
    pipe.unload_lora("dora")
    pipe.unload_lora("kohya")
    assert torch.equal(tokens(pipe), plain)
    assert all(torch.equal(t, before[k]) for k, t in pipe.transformer.state_dict().items())
    after = list(pipe.transformer.modules())
    assert len(after) == len(modules)
    assert all(a is b for a, b in zip(after, modules, strict=True))
    with pytest.raises(RequestError, match="loras: no LoRA 'dora' is loaded"):
        pipe.unload_lora("dora")


def test_jobs_with_different_loras_share_calls_and_equal_each_alone(pipe, files):
    for kind in ("kohya", "dora", "lokr"):
        pipe.load_lora(files[kind], name=kind)
    wanted = [[], [("kohya", 1.0)], [("dora", 0.5), ("lokr", 1.2)], [("kohya", -0.4)], ["lokr"]]
    requests = [
        make_request(pipe.variant, "a fox", seed=k, steps=3, loras=loras,
                     true_cfg=2.0 if k % 2 else 1.0)
        for k, loras in enumerate(wanted)
    ]  # fmt: skip
    together = [pipe.start(request, request.seed) for request in requests]
    calls = 0
    while waiting := [job for job in together if not job.done]:
        advance(waiting, pipe.transformer)
        calls += 1
    assert calls == 3
    for request, job in zip(requests, together, strict=True):
        alone = pipe.start(request, request.seed)
        while not alone.done:
            advance([alone], pipe.transformer)
        torch.testing.assert_close(job.x, alone.x, atol=1e-5, rtol=1e-5)


def test_a_name_is_swapped_for_another_file(pipe, files):
    pipe.load_lora(files["kohya"], name="style")
    first = tokens(pipe, loras=["style"])
    pipe.load_lora(files["diffusers"], name="style")
    second = tokens(pipe, loras=["style"])
    assert (first - second).abs().max() > 1e-2
    with pytest.raises(Flux1Error):
        pipe.load_lora(files["bfl_control"], name="style")
    assert torch.equal(tokens(pipe, loras=["style"]), second)  # what failed changed nothing


def test_a_lora_unloaded_under_a_picture_is_said(pipe, files):
    pipe.load_lora(files["kohya"], name="style")
    job = pipe.start(make_request(pipe.variant, "a fox", seed=1, steps=2, loras=["style"]), 1)
    pipe.unload_lora("style")
    with pytest.raises(Flux1Error, match="unloaded while a picture"):
        advance([job], pipe.transformer)


def test_of_files_that_requests_named_those_used_last_stay(pipe, files, tmp_path):
    """Loaded by name, or being drawn with: kept; the others leave in the order of their use."""
    copies = [str(tmp_path / f"{k}.safetensors") for k in range(KEPT + 3)]
    for copy in copies:
        shutil.copy(files["kohya"], copy)
    pipe.load_lora(files["dora"], name="mine")
    pipe.load_lora(copies[0])

    def draw(*names):
        return tokens(pipe, loras=list(names))

    def ask(*names):
        for _ in pipe.stream([make_request(pipe.variant, "a fox", steps=1, loras=list(names))]):
            pass

    def loaded():
        names = [*copies, "mine"]
        return {names.index(name) for name in names if is_loaded(pipe, name)}

    ask(*copies[1:3])
    first = draw(copies[1])
    drawing = pipe.start(make_request(pipe.variant, "a fox", steps=2, loras=[copies[1]]), 1)
    for copy in copies[3 : KEPT + 1]:
        ask(copy)
    mine = len(copies)
    assert loaded() == {*range(KEPT + 1), mine}
    ask(copies[2])
    ask(copies[KEPT + 1])  # 1 was used longest ago, but is being drawn with
    assert loaded() == {*range(KEPT + 2), mine}
    while not drawing.done:
        advance([drawing], pipe.transformer)
    ask(copies[KEPT + 2])
    assert loaded() == {0, 2, *range(4, KEPT + 3), mine}
    ask(copies[1])
    assert torch.equal(draw(copies[1]), first)


def is_loaded(pipe, name):
    try:
        return bool(pipe.loaded_lora(name))
    except RequestError:
        return False


def test_one_call_may_take_more_than_stay(pipe, files, tmp_path):
    copies = [str(tmp_path / f"{k}.safetensors") for k in range(KEPT + 4)]
    for copy in copies:
        shutil.copy(files["kohya"], copy)
    asked = [
        make_request(pipe.variant, "a fox", seed=k, steps=1, loras=[(copy, 0.5)])
        for k, copy in enumerate(copies)
    ]
    assert len([event for event in pipe.stream(asked) if isinstance(event, Finished)]) == len(asked)
    pipe("a fox", steps=1, loras=[files["dora"]])
    assert [is_loaded(pipe, copy) for copy in copies] == [False] * 5 + [True] * (KEPT - 1)


def test_what_cannot_be_had_is_one_line(pipe, files, tmp_path):
    with pytest.raises(RequestError, match="no LoRA 'x' is loaded, and no such file is there"):
        pipe("a fox", loras=["x"])
    pipe.load_lora(files["kohya"], name="style")
    with pytest.raises(RequestError, match="did you mean 'style'"):
        pipe("a fox", loras=["styel"])
    with pytest.raises(WeightsError, match="a control LoRA: it follows a second picture"):
        pipe("a fox", loras=[files["bfl_control"]])
    request = make_request(pipe.variant, "a fox", loras=[LoraUse(files["dora"])])
    with pytest.raises(RequestError, match="is loaded"):
        pipe.start(request, 1)  # what starts pictures reads no files
