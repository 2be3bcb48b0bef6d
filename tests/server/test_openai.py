"""The real `openai` client against a running server."""

import asyncio
import base64
import io
import urllib.request

import openai
import pytest
from PIL import Image

from flux1 import FluxPipeline
from flux1.safety.provenance import parse_recipe
from flux1.store.keys import KeyLimits


@pytest.fixture
def client(caller):
    with openai.OpenAI(base_url=f"{caller.url}/v1", api_key=caller.key) as made:
        yield made


def pixels(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def furthest(a: Image.Image, b: Image.Image) -> int:
    """Largest difference of two pictures' levels."""
    pairs = zip(a.convert("RGB").tobytes(), b.convert("RGB").tobytes(), strict=True)
    return max(abs(x - y) for x, y in pairs)


def test_a_picture_inside_the_answer_is_that_of_its_seed(client, tiny: FluxPipeline):
    answer = client.images.generate(
        model="tiny", prompt="a fox", size="64x64", extra_body={"seed": 7, "steps": 3}
    )
    assert answer.model == "tiny"
    assert answer.size == "64x64"
    assert answer.output_format == "png"
    (data,) = answer.data
    assert data.seed == 7
    alone = tiny("a fox", seed=7, steps=3).images[0]
    assert furthest(pixels(data.b64_json), alone) <= 1
    assert answer.usage.output_tokens == 16  # 64 x 64 pixels in patches of 16
    assert answer.usage.total_tokens == answer.usage.input_tokens + 16
    assert answer.timings["total_s"] > 0


def test_four_pictures_have_seeds_in_a_row_and_their_recipes_inside(client):
    answer = client.images.generate(
        model="tiny", prompt="a fox", n=4, extra_body={"seed": 10, "steps": 2}
    )
    assert [one.seed for one in answer.data] == [10, 11, 12, 13]
    assert [one.index for one in answer.data] == [0, 1, 2, 3]
    for one in answer.data:
        recipe = parse_recipe(base64.b64decode(one.b64_json))
        assert (recipe.prompt, recipe.seed, recipe.steps) == ("a fox", one.seed, 2)
    assert len({one.b64_json for one in answer.data}) == 4


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_link_gives_the_file_without_a_key(client, format):
    answer = client.images.generate(
        model="tiny", prompt="a fox", response_format="url", output_format=format
    )
    (data,) = answer.data
    assert data.b64_json is None
    with urllib.request.urlopen(data.url) as got:
        assert got.headers["content-type"] == f"image/{format}"
        assert Image.open(io.BytesIO(got.read())).format == format.upper()


def test_an_alias_draws_and_the_answer_names_the_model(client):
    answer = client.images.generate(model="gpt-image-1", prompt="a fox", quality="low")
    assert answer.model == "tiny"
    assert answer.quality == "low"
    assert answer.parameters["steps"] == 2


def test_guidance_and_other_services_names_are_understood(client):
    answer = client.images.generate(
        model="tiny",
        prompt="a fox",
        extra_body={"num_inference_steps": 3, "guidance_scale": 2, "aspect_ratio": "16:9"},
    )
    assert answer.size == "80x48"
    assert answer.parameters["steps"] == 3
    assert answer.parameters["guidance"] == 2


def test_a_stream_shows_previews_then_the_picture(client, tiny):
    events = list(
        client.images.generate(
            model="tiny",
            prompt="a fox",
            n=2,
            stream=True,
            partial_images=2,
            extra_body={"seed": 3, "steps": 6},
        )
    )
    partial = [e for e in events if e.type == "image_generation.partial_image"]
    done = [e for e in events if e.type == "image_generation.completed"]
    for image in (0, 1):
        assert [e.partial_image_index for e in partial if e.image_index == image] == [0, 1]
    assert sorted((e.image_index, e.seed) for e in done) == [(0, 3), (1, 4)]
    assert all(pixels(e.b64_json).size == (64, 64) for e in events)
    final = next(e for e in done if e.seed == 3)
    assert furthest(pixels(final.b64_json), tiny("a fox", seed=3, steps=6).images[0]) <= 1


def test_an_enlarged_picture_is_that_of_its_recipe(caller, client, tiny):
    asked = {"seed": 7, "steps": 2, "upscale": 2}
    answer = client.images.generate(model="tiny", prompt="a fox", extra_body=asked)
    assert answer.size == "128x128"
    assert answer.parameters["upscale"] == 2
    assert answer.usage.output_tokens == 16  # what was drawn
    drawn = pixels(answer.data[0].b64_json)
    alone = tiny("a fox", seed=7, steps=2, upscale=2).images[0]
    assert drawn.size == alone.size == (128, 128)
    assert furthest(drawn, alone) <= 8  # one level of what was drawn, enlarged
    assert parse_recipe(base64.b64decode(answer.data[0].b64_json)).upscale == 2
    stream = client.images.generate(
        model="tiny", prompt="a fox", stream=True, partial_images=1, extra_body=asked
    )
    assert [event.size for event in stream] == ["64x64", "128x128"]  # previews are not enlarged
    usage = caller.parts.store.usage.today(caller.account_id)
    assert usage.megapixels == pytest.approx(2 * 128 * 128 / 1e6)


def test_the_asynchronous_client_gets_many_at_once(caller):
    async def draw():
        async with openai.AsyncOpenAI(base_url=f"{caller.url}/v1", api_key=caller.key) as client:
            asked = [
                client.images.generate(model="tiny", prompt=f"fox {i}", extra_body={"seed": i})
                for i in range(8)
            ]
            answers = await asyncio.gather(*asked)
            stream = await client.images.generate(model="tiny", prompt="a fox", stream=True)
            return answers, [event async for event in stream]

    answers, events = asyncio.run(draw())
    assert [answer.data[0].seed for answer in answers] == list(range(8))
    assert events[-1].type == "image_generation.completed"


def test_models_are_listed_under_each_name(client):
    listed = {model.id: model for model in client.models.list()}
    assert {"tiny", "flux-dev", "gpt-image-1"} <= set(listed)
    assert listed["flux-dev"].draws_with == "tiny"
    one = client.models.retrieve("flux-dev")
    assert one.licence["name"] == "Apache-2.0"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("flux-pro")


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": " \n"}, "prompt", "pattern"),
        ({"prompt": "a\0b"}, "prompt", "not text"),
        ({"size": "65x64"}, "width", "nearest: 64"),
        ({"size": "4096x4096"}, "size", "nearest: 2048x2048"),
        ({"size": "wide"}, "size", "pattern"),
        ({"n": 11}, "n", "less than or equal to 10"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"background": "transparent"}, "background", "nearest: 'opaque'"),
        ({"output_format": "gif"}, "output_format", "nearest: 'png'"),
        ({"output_compression": 50}, "output_compression", "png is lossless"),
        ({"style": "vivid"}, "style", "say the style in the prompt"),
        ({"partial_images": 2}, "partial_images", "needs stream"),
        ({"extra_body": {"stpes": 4}}, "stpes", "did you mean 'steps'?"),
        ({"extra_body": {"steps": "4"}}, "steps", "valid integer"),
        ({"extra_body": {"steps": True}}, "steps", "valid integer"),
        ({"extra_body": {"seed": 10**30}}, "seed", "less than or equal"),
        ({"extra_body": {"steps": 4, "num_inference_steps": 5}}, "num_inference_steps", "same as"),
        ({"extra_body": {"steps": 4}, "quality": "high"}, "quality", "send one"),
        ({"extra_body": {"width": 64}}, "height", "is missing"),
        ({"extra_body": {"guidance": 1e300}}, "guidance", "less than or equal"),
        ({"extra_body": {"negative_prompt": "x", "true_cfg": 1}}, "negative_prompt", "no effect"),
        ({"extra_body": {"loras": [{"path": "x"}]}}, "loras", "cannot be loaded"),
        ({"extra_body": {"upscale": 3}}, "upscale", "1, 2 or 4"),
        ({"size": "2048x2048", "extra_body": {"upscale": 4}}, "upscale", "nearest: 2"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client, asked, field, words):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{"model": "tiny", "prompt": "a fox", **asked})
    error = caught.value
    assert error.param == field
    assert words in error.message
    assert error.type == "invalid_request_error"
    assert error.code in ("invalid_value", "unknown_parameter")
    assert error.request_id.startswith("http_")


def test_errors_arrive_as_the_clients_own_classes(caller, client):
    def fresh(key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{caller.url}/v1", api_key=key)

    with pytest.raises(openai.AuthenticationError) as unknown:
        fresh("fx1_wrong").images.generate(model="tiny", prompt="a fox")
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as no_model:
        client.images.generate(model="tyni", prompt="a fox")
    assert no_model.value.code == "model_not_found"
    assert "'tiny'" in no_model.value.message

    keys = caller.parts.store.keys
    key, secret = keys.create(caller.account_id, "reader", scopes=frozenset({"images:read"}))
    with pytest.raises(openai.PermissionDeniedError) as denied:
        fresh(secret).images.generate(model="tiny", prompt="a fox")
    assert denied.value.code == "insufficient_scope"
    keys.revoke(caller.account_id, key.id)
    with pytest.raises(openai.AuthenticationError):
        fresh(secret).models.list()
    with pytest.raises(openai.BadRequestError) as edits:
        client.images.edit(model="tiny", image=b"not a picture", prompt="a fox")
    assert edits.value.code == "unsupported_operation"


def test_a_blocked_prompt_is_an_error_and_a_row(caller, client):
    with pytest.raises(openai.BadRequestError) as blocked:
        client.images.generate(model="tiny", prompt="nude photo of a child")
    assert blocked.value.code == "moderation_blocked"
    assert blocked.value.type == "image_generation_user_error"
    assert "safety_violations=[" in blocked.value.message
    assert "sexual/minors" in blocked.value.message
    (row,) = caller.parts.store.requests.search(account_id=caller.account_id)
    assert row.status == "blocked"
    assert row.safety["prompt"]["blocked"]


def test_the_same_idempotency_key_draws_once(caller, client):
    def ask(prompt: str):
        return client.images.generate(
            model="tiny", prompt=prompt, extra_headers={"Idempotency-Key": "one"}
        )

    first, second = ask("a fox"), ask("a fox")
    assert first.data[0].b64_json == second.data[0].b64_json
    assert first.id == second.id
    assert caller.parts.store.usage.today(caller.account_id).images == 1
    with pytest.raises(openai.BadRequestError) as reused:
        ask("a cat")
    assert reused.value.code == "idempotency_key_reused"


def test_a_client_that_gives_up_cancels_its_work_and_retries_do_not_draw_twice(caller):
    """The read timeout travels with the request: work that cannot be ready by then is not done."""
    client = openai.OpenAI(base_url=f"{caller.url}/v1", api_key=caller.key, max_retries=2)
    with pytest.raises((openai.APITimeoutError, openai.InternalServerError)):
        client.images.generate(
            model="tiny", prompt="a fox", size="1024x1024", timeout=0.5, extra_body={"steps": 1000}
        )
    requests = caller.parts.store.requests
    while any(stored.finished is None for stored in requests.search(account_id=caller.account_id)):
        pass
    ended = requests.search(account_id=caller.account_id)
    assert {stored.status for stored in ended} <= {"cancelled", "failed"}
    assert caller.parts.store.usage.today(caller.account_id).images == 0
    assert caller.parts.engine.status().running == 0


def test_rates_are_told_and_kept(caller):
    keys = caller.parts.store.keys
    _, secret = keys.create(caller.account_id, "slow", limits=KeyLimits(requests_per_minute=2))
    client = openai.OpenAI(base_url=f"{caller.url}/v1", api_key=secret, max_retries=0)
    left = []
    for _ in range(2):
        raw = client.images.with_raw_response.generate(model="tiny", prompt="a fox")
        left.append(raw.headers["x-ratelimit-remaining-requests"])
    assert left == ["1", "0"]
    with pytest.raises(openai.RateLimitError) as refused:
        client.images.generate(model="tiny", prompt="a fox")
    assert refused.value.code == "rate_limit_exceeded"
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 60


def test_a_days_pictures_are_counted(caller):
    keys = caller.parts.store.keys
    _, secret = keys.create(caller.account_id, "few", limits=KeyLimits(images_per_day=3))
    client = openai.OpenAI(base_url=f"{caller.url}/v1", api_key=secret, max_retries=2)
    client.images.generate(model="tiny", prompt="a fox", n=3)
    with pytest.raises(openai.RateLimitError) as refused:
        client.images.generate(model="tiny", prompt="a fox")
    assert refused.value.code == "image_quota_exceeded"
    assert refused.value.type == "insufficient_quota"
    assert refused.value.response.headers["x-should-retry"] == "false"
