"""Pictures of graphs beside those of torch: the same seed, the same picture."""

import json
import shutil

import numpy as np
import pytest

from flux1 import make_request
from flux1.errors import MissingWeightsError, RequestError
from flux1.events import Finished, Step
from flux1.export.parity import levels_apart
from flux1.flow.solvers import SOLVERS
from flux1.request import SOLVERS as NAMES
from flux1.runtime import pipeline as runtime
from flux1.runtime.folder import INDEX
from flux1.runtime.pipeline import OnnxPipeline
from graphs import by_onnx, by_torch, exported

FOX = "a red fox on a blue background"


def both(model, prompt=FOX, **asked):
    """The events of one request in both runtimes."""
    request = make_request(by_torch(model).variant, prompt, seed=5, **asked)
    return [list(one.stream([request])) for one in (by_torch(model), by_onnx(model))]


def assert_same(theirs, ours):
    pictures = [
        {e.image: e for e in events if isinstance(e, Finished)} for events in (theirs, ours)
    ]
    assert pictures[0].keys() == pictures[1].keys()
    for image, finished in pictures[0].items():
        assert finished.seed == pictures[1][image].seed
        assert levels_apart(finished.picture, pictures[1][image].picture).max() <= 1


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"width": 128, "height": 48, "steps": 3},
        {"num_images": 3, "steps": 2, "guidance": 1.5},
        {"true_cfg": 3.0, "negative_prompt": "blur", "steps": 3, "num_images": 2},
        *({"solver": name, "steps": 3} for name in NAMES),
    ],
    ids=str,
)
def test_tiny_draws_the_same_in_every_way_of_asking(asked):
    assert_same(*both("tiny", **asked))


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [(FOX, {"num_images": 2}), ("a castle, flat", {"width": 192, "height": 96})],
)
def test_flux_mini_draws_the_same(prompt, asked):
    assert_same(*both("flux-mini", prompt, steps=8, **asked))


@pytest.mark.parametrize("model", ["dev", "schnell"])
@pytest.mark.parametrize("prompt", ["a fox", "ein großer Fuchs " * 60])
def test_flux1s_own_layout_draws_the_same(model, prompt):
    assert_same(*both(model, prompt, width=64, height=96, steps=3, num_images=2))


def test_other_solvers_than_those_of_requests_are_no_part_of_it():
    assert set(NAMES) == set(SOLVERS)


def test_steps_are_told_as_by_torch_and_preview_the_estimate():
    theirs, ours = (
        [e for e in events if isinstance(e, Step)]
        for events in both("tiny", steps=4, solver="heun")
    )
    assert [(e.image, e.step, e.steps, e.t) for e in ours] == [
        (e.image, e.step, e.steps, e.t) for e in theirs
    ]
    assert levels_apart(theirs[1].preview(), ours[1].preview()).max() <= 1


def test_images_of_several_requests_are_numbered_through():
    onnx = by_onnx("tiny")
    requests = [
        make_request(onnx.variant, "a fox", steps=1, seed=seed, num_images=2) for seed in (1, 9)
    ]
    finished = [e for e in onnx.stream(requests) if isinstance(e, Finished)]
    assert [(e.image, e.seed) for e in finished] == [(0, 1), (1, 2), (2, 9), (3, 10)]


def test_many_rows_are_cut_into_calls(monkeypatch):
    onnx = by_onnx("tiny")
    request = make_request(onnx.variant, FOX, steps=2, seed=1, num_images=5, true_cfg=2.0)
    whole = [e.picture for e in onnx.stream([request]) if isinstance(e, Finished)]
    monkeypatch.setattr(runtime, "TOKENS_PER_CALL", 100)  # two rows
    cut = [e.picture for e in onnx.stream([request]) if isinstance(e, Finished)]
    assert max(levels_apart(a, b).max() for a, b in zip(whole, cut, strict=True)) <= 1


def test_words_that_are_not_read_are_told():
    prompt = "fox " * 40
    request = make_request(by_torch("tiny").variant, prompt, seed=0)
    assert by_onnx("tiny").dropped(request) == by_torch("tiny").dropped(request) != ""


def test_eight_bits_draw_nearly_the_same_picture():
    request = make_request(by_torch("flux-mini").variant, FOX, seed=5, steps=8)
    (theirs,) = by_torch("flux-mini").draw(request).images
    stream = by_onnx("flux-mini", "int8").stream([request])
    (ours,) = [e.picture for e in stream if isinstance(e, Finished)]
    assert 0 < np.mean(levels_apart(theirs, ours)) < 1


def test_eight_bits_draw_a_picture_whatever_is_drawn_beside_it():
    onnx = by_onnx("flux-mini", "int8")
    alone, beside = (
        next(
            event.picture
            for event in onnx.stream(
                [make_request(onnx.variant, FOX, seed=5, steps=4, num_images=count)]
            )
            if isinstance(event, Finished)
        )
        for count in (1, 3)
    )
    assert levels_apart(alone, beside).max() <= 1


@pytest.mark.parametrize("upscale", [2, 4])
def test_pictures_are_enlarged_as_by_torch(upscale):
    theirs, ours = (
        next(event.picture for event in events if isinstance(event, Finished))
        for events in both("flux-mini", steps=1, width=64, height=32, upscale=upscale)
    )
    assert ours.size == (64 * upscale, 32 * upscale)
    apart = levels_apart(theirs, ours)  # what was drawn is a level apart here and there
    assert apart.max() <= 8
    assert apart.mean() < 0.1


def test_a_folder_of_before_says_what_it_lacks(tmp_path):
    older = shutil.copytree(exported("tiny"), tmp_path / "tiny")
    index = json.loads((older / INDEX).read_text())
    del index["flux1"]["components"]["upscaler"]
    (older / INDEX).write_text(json.dumps(index))
    onnx = OnnxPipeline.from_folder(older)
    plain, large = (make_request(onnx.variant, "a fox", steps=1, upscale=n) for n in (1, 2))
    assert any(isinstance(event, Finished) for event in onnx.stream([plain]))
    with pytest.raises(MissingWeightsError, match="without an upscaler; export the model again"):
        next(onnx.stream([large]))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"loras": ["x.safetensors"]}, "loras: do not go into a graph"),
        ({"like": "bfl"}, "like: 'bfl' is matched by --runtime torch only"),
    ],
)
def test_what_graphs_cannot_do_is_refused(asked, message):
    onnx = by_onnx("tiny")
    request = make_request(onnx.variant, "a fox", **asked)
    with pytest.raises(RequestError, match=message):
        next(onnx.stream([request]))


def test_a_request_for_another_model_is_refused():
    request = make_request(by_torch("flux-mini").variant, "a fox")
    with pytest.raises(RequestError, match="the request is for flux-mini, this is tiny"):
        next(by_onnx("tiny").stream([request]))
