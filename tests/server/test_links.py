"""Links lead to this server, whatever somebody writes into a Host header."""

import socket
from dataclasses import replace

import httpx2 as httpx
import pytest
from fastapi import Request

from flux1.server.app import create_app
from flux1.server.links import address


def sample(service, caller, host: str) -> str:
    headers = {"x-key": caller.key, "host": host}
    body = {"model": "tiny", "prompt": "a fox", "steps": 1, "response_format": "url"}
    asked = httpx.post(f"{service[1]}/v1/images/generations", json=body, headers=headers)
    return asked.json()["data"][0]["url"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "[", "a b", "127.0.0.1@evil.example", "x" * 300]
)
def test_a_strange_name_is_not_followed(service, caller, host):
    assert sample(service, caller, host).startswith(f"{service[1]}/v1/pictures/")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:1", "localhost:8000", "192.0.2.7", "[2001:db8::1]:8000", socket.gethostname()],
)
def test_this_machine_s_own_names_and_addresses_are_followed(service, caller, host):
    assert sample(service, caller, host).startswith(f"http://{host}/v1/pictures/")


def test_a_public_address_stands_above_all(service):
    parts, _ = service
    public = parts.settings.model_copy(update={"public_url": "https://pictures.example/"})
    app = create_app(replace(parts, settings=public))
    scope = {"type": "http", "app": app, "scheme": "http", "server": ("127.0.0.1", 80)}
    asked = Request(scope | {"headers": [(b"host", b"localhost")]})
    assert address(asked, "/v1/x") == "https://pictures.example/v1/x"
