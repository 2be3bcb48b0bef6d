"""One table of knobs: what it says is what requests, options, the API and recipes know."""

from dataclasses import fields, replace

import pytest

from flux1 import FluxPipeline
from flux1.errors import RequestError
from flux1.flow.shift import Schedule
from flux1.knobs import KNOBS
from flux1.request import Asked, ImageRequest, make_request
from flux1.safety.provenance import Recipe
from flux1.server.openai import ImageGenerationBody
from flux1.variants import FLUX_DEV, TINY


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_a_knob_has_one_name_everywhere(knob):
    for known in (ImageRequest, Recipe):
        assert knob.name in {one.name for one in fields(known)}
    assert knob.name in Asked.__annotations__
    assert knob.about in ImageGenerationBody.model_fields[knob.name].description
    assert getattr(make_request(FLUX_DEV, "a fox"), knob.name) == knob.usual(FLUX_DEV)


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.name)
def test_what_a_knob_does_not_take_is_refused_by_name(knob):
    outside = {"whole": knob.high + 1, "number": knob.high + 1, "text": 3, "choice": "x"}
    with pytest.raises(RequestError) as refused:
        make_request(FLUX_DEV, "a fox", **{knob.name: outside[knob.kind]})
    assert refused.value.field == knob.name


@pytest.mark.parametrize(("name", "ours"), [
    ("num_inference_steps", "it is 'steps' here"),
    ("generator", "it is 'seed' here"),
    ("output_type", "pictures are PIL's images"),
    ("stesp", "did you mean 'steps'?"),
])  # fmt: skip
def test_a_keyword_that_is_none_is_answered(name, ours):
    with pytest.raises(RequestError, match=f"{name}: is nothing that a request has.*{ours}"):
        make_request(TINY, "a fox", **{name: 3})


def test_schedule_spreads_the_steps_as_a_model_of_that_spacing_does():
    tiny = FluxPipeline.from_pretrained("tiny")
    own = replace(tiny.variant, schedule=Schedule(spacing="karras"))
    karras = FluxPipeline(replace(tiny.networks, variant=own))
    asked = {"seed": 1, "steps": 4}
    even = tiny("a fox", **asked).images[0].tobytes()
    spread = tiny("a fox", **asked, schedule="karras").images[0].tobytes()
    assert spread == karras("a fox", **asked).images[0].tobytes() != even
    assert karras("a fox", **asked, schedule="even").images[0].tobytes() == even


def test_a_program_is_matched_at_the_models_own_schedule_alone():
    with pytest.raises(RequestError, match="'karras' is not matched with like 'bfl'; take 'even'"):
        make_request(FLUX_DEV, "a fox", like="bfl", schedule="karras")
