"""A service whose networks come and go: the same answers."""

import pytest
from fastapi.testclient import TestClient

from flux1.cli.serve import Placed, join
from flux1.errors import RequestError
from flux1.server.app import create_app
from service import EMAIL, joined, newcomer


def test_a_model_in_little_memory_is_served(settings, tiny):
    asked = {"model": "tiny", "prompt": "a fox", "size": "64x64", "seed": 7, "steps": 3, "n": 2}
    with joined(settings, memory="8GB") as parts, TestClient(create_app(parts)) as client:
        key = newcomer(parts, "", EMAIL).key
        headers = {"Authorization": f"Bearer {key}"}
        answer = client.post("/v1/images/generations", json=asked, headers=headers).json()
    assert [picture["seed"] for picture in answer["data"]] == [7, 8]
    assert answer["usage"]["input_tokens"] == tiny.text.count("a fox")


def test_memory_is_for_one_model(settings):
    with pytest.raises(RequestError, match="memory: 8GB is for one model; serve flux-mini by"):
        join(settings, ["tiny", "flux-mini"], [], False, False, Placed(memory="8GB"))
