"""What a request accepts, fills in and refuses."""

import dataclasses

import numpy as np
import pytest

from flux1.errors import RequestError
from flux1.request import LoraUse, make_request
from flux1.variants import FLUX_DEV, FLUX_MINI, FLUX_MINI_SCHNELL, FLUX_SCHNELL


def test_defaults_are_the_variants_own():
    request = make_request(FLUX_DEV, "a fox", seed=3)
    assert (request.width, request.height, request.steps) == (1024, 1024, 28)
    assert (request.guidance, request.true_cfg, request.seed) == (3.5, 1.0, 3)


def test_a_missing_seed_is_drawn_and_recorded():
    seeds = {make_request(FLUX_DEV, "a fox").seed for _ in range(8)}
    assert len(seeds) == 8


def test_a_request_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_request(FLUX_DEV, "a fox").seed = 1


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "width",
            1000,
            "1000 is not a positive multiple of 16, at most 262144; nearest: 1008",
        ),
        ("height", -16, "nearest: 16"),
        ("width", 0, "width: 0 is not a positive multiple of 16"),
        ("steps", -1, "steps: -1 is not from 1 to 1000; nearest: 1"),
        ("steps", 0, "steps: 0"),
        ("num_images", 0, "num_images: 0"),
        ("seed", -5, "seed: -5"),
        ("guidance", float("nan"), "guidance: nan"),
        ("guidance", -1.0, "guidance: -1 is not from 0 to 100; nearest: 0"),
        ("true_cfg", 0.5, "true_cfg: 0.5"),
        ("solver", "eular", "did you mean 'euler'"),
        ("negative_prompt", "blur", "negative_prompt: has no effect at true_cfg 1"),
        ("upscale", 3, "upscale: 3 is not one of 1, 2, 4; nearest: 2"),
        ("upscale", -1, "nearest: 1"),
    ],
)
def test_bad_fields_are_named_with_their_value_and_a_good_one(field, value, words):
    with pytest.raises(RequestError) as caught:
        make_request(FLUX_DEV, "a fox", **{field: value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ["a fox"]), ("prompt", "a \udcff"), ("negative_prompt", 0), ("width", 512.0),
        ("steps", 4.0), ("steps", True), ("seed", "7"), ("guidance", "3"), ("guidance", [2]),
        ("guidance", True), ("true_cfg", 10**400), ("width", 10**400), ("solver", 5),
        ("upscale", "4"), ("upscale", 2.0),
    ],
)  # fmt: skip
def test_what_is_not_the_right_kind_of_thing_is_refused(field, value):
    with pytest.raises(RequestError) as caught:
        make_request(FLUX_DEV, **{"prompt": "a fox", field: value})
    assert caught.value.field == field
    assert len(str(caught.value)) < 1000


def test_whole_numbers_of_numpy_count_as_whole():
    request = make_request(FLUX_DEV, "a fox", seed=np.int64(64), steps=np.int32(3))
    assert (request.seed, request.steps) == (64, 3)
    assert type(request.seed) is int


def test_what_is_enlarged_has_a_largest_size():
    request = make_request(FLUX_DEV, "a fox", upscale=4)
    assert request.finished_size == (4096, 4096)
    assert make_request(FLUX_DEV, "a fox").finished_size == (1024, 1024)
    told = "upscale: 2048x1024 times 4 is 8192x4096, more than the 16777216 pixels .* nearest: 2"
    with pytest.raises(RequestError, match=told):
        make_request(FLUX_DEV, "a fox", width=2048, upscale=4)


@pytest.mark.parametrize("prompt", ["", "   ", "\n"])
def test_an_empty_prompt_is_refused(prompt):
    with pytest.raises(RequestError, match="prompt: is empty"):
        make_request(FLUX_DEV, prompt)


def test_too_many_pixels_name_the_nearest_size_of_the_same_shape():
    with pytest.raises(RequestError, match="nearest: 512x512"):
        make_request(FLUX_MINI, "a fox", width=1024, height=1024)
    with pytest.raises(RequestError, match="nearest: 2896x1440"):
        make_request(FLUX_DEV, "a fox", width=8192, height=4096)


@pytest.mark.parametrize("variant", [FLUX_SCHNELL, FLUX_MINI_SCHNELL])
def test_guidance_is_refused_where_the_network_has_no_such_input(variant):
    with pytest.raises(RequestError, match="would have no effect"):
        make_request(variant, "a fox", guidance=3.5)


def test_loras_are_names_pairs_or_uses():
    request = make_request(FLUX_DEV, "a fox", loras=["a", ("b", 0.5), LoraUse("c", -2)])
    assert request.loras == (LoraUse("a", 1.0), LoraUse("b", 0.5), LoraUse("c", -2.0))
    assert make_request(FLUX_DEV, "a fox").loras == ()


@pytest.mark.parametrize(
    ("loras", "words"),
    [
        ("x.safetensors", "is not a list"),
        ([""], "'' is not a LoRA's name"),
        ([3], "3 is not a LoRA's name"),
        ([("a", "much")], "'much' is not a number"),
        ([("a", 11)], "11 is not from -10 to 10; nearest: 10"),
        ([("a", float("nan"))], "loras: nan"),
        (["a", ("a", 0.5)], "'a' is there twice"),
        ([str(k) for k in range(17)], "are 17, at most 16"),
    ],
)
def test_bad_loras_are_named(loras, words):
    with pytest.raises(RequestError, match="loras: ") as caught:
        make_request(FLUX_DEV, "a fox", loras=loras)
    assert words in str(caught.value)
