"""Clients whose address or habits are a little off: served where that is sound, else told how."""

from dataclasses import replace

import httpx2 as httpx
import pytest

from flux1.settings import ServerSettings, read
from instant import InstantEngine
from service import serving

SITE = "https://app.example"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/images/generations", "/v1 is missing; call /v1/images/generations"),
        ("/models", "/v1 is missing; call /v1/models"),
        ("/v1/v1/images/generations", "has /v1 twice; call /v1/images/generations"),
        ("/v1/v1/v1/models", "has /v1 twice; call /v1/models"),
        ("/v1/chat/completions", "this server draws pictures: POST /v1/images/generations"),
        ("/chat/completions", "this server draws pictures: POST /v1/images/generations"),
        ("/sdapi/v1/txt2img", "Automatic1111's API is not spoken here"),
        ("/v1/image/generations", "did you mean '/v1/images/generations'?"),
    ],
)
def test_a_near_miss_is_told_what_was_meant(caller, path, words):
    answer = httpx.post(caller.url + path, json={"prompt": "a"}, headers={"x-key": caller.key})
    assert answer.status_code == 404
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/health/live", "/v1/models", "/openapi.json", "/login", "/"])
def test_head_is_get_without_its_body(caller, path):
    headers = {"x-key": caller.key}
    got = httpx.get(caller.url + path, headers=headers)
    head = httpx.head(caller.url + path, headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_a_slash_at_the_end_means_nothing(caller):
    headers = {"x-key": caller.key}
    body = {"model": "tiny", "prompt": "a fox", "steps": 1}
    drawn = httpx.post(f"{caller.url}/v1/images/generations/", json=body, headers=headers)
    assert drawn.status_code == 200
    assert httpx.get(f"{caller.url}/v1/models/", headers=headers).status_code == 200


def test_other_sites_pages_call_the_api_where_the_operator_says_so(service, caller):
    asked = {"origin": SITE, "access-control-request-method": "POST",
             "access-control-request-headers": "authorization,content-type"}  # fmt: skip
    path = "/v1/images/generations"
    closed = httpx.options(caller.url + path, headers=asked)
    assert "access-control-allow-origin" not in closed.headers
    parts, _ = service
    settings = parts.settings.model_copy(update={"cors_origins": f"http://x.example, {SITE}"})
    engine = InstantEngine(parts.engine.models)  # a server that stops closes its engine
    with serving(replace(parts, settings=settings, engine=engine)) as url:
        preflight = httpx.options(url + path, headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == SITE
        assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
        models = httpx.get(f"{url}/v1/models", headers={"x-key": caller.key, "origin": SITE})
        assert models.headers["access-control-allow-origin"] == SITE
        assert "access-control-allow-credentials" not in models.headers
        other = httpx.options(url + path, headers=asked | {"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_settings_that_are_given_empty_are_not_set(monkeypatch):
    plain = read(ServerSettings)
    for name in ServerSettings.model_fields:
        monkeypatch.setenv(f"FLUX1_{name.upper()}", "")
    assert read(ServerSettings) == plain


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/tiny"])
def test_minus_one_is_any_seed_and_a_ratio_is_a_size(caller, path):
    body = {"prompt": "a fox", "steps": 1, "seed": -1, "aspect_ratio": "16:9"}
    answer = httpx.post(caller.url + path, json=body, headers={"x-key": caller.key})
    assert answer.status_code == 200
    (stored,) = caller.parts.store.requests.search(account_id=caller.account_id)
    assert (stored.parameters["width"], stored.parameters["height"]) == (80, 48)
    assert stored.parameters["seed"] >= 0
