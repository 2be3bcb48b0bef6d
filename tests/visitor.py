"""Somebody at the dashboard: a browser without a screen."""

import html
import json
import re
from dataclasses import replace

import httpx2 as httpx
from starlette.testclient import TestClient

from flux1.server.app import create_app
from flux1.server.parts import Parts
from service import PASSWORD

TYPED = {"prompt": "a fox", "seed": 7, "steps": 2, "stream": True}


class Visitor:
    """A browser without a screen: sends forms as the pages that hold them say."""

    def __init__(self, client) -> None:
        self.client = client
        client.headers["accept"] = "text/html"

    def get(self, path: str, **options) -> httpx.Response:
        return self.client.get(path, follow_redirects=False, **options)

    def send(self, page: str, path: str | None = None, files=None, headers=None, **fields):
        """Send a form as the page that holds it says: with its hidden fields."""
        hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.get(page).text)
        data = {name: html.unescape(value) for name, value in hidden} | fields
        return self.client.post(
            path or page, data=data, files=files, headers=headers, follow_redirects=False
        )

    def sign_in(self, email: str, password: str = PASSWORD) -> "Visitor":
        answer = self.send("/login", email=email, password=password)
        assert (answer.status_code, answer.headers["location"]) == (303, "/playground"), answer.text
        return self

    def enter(self, parts: Parts, account_id: str) -> "Visitor":
        """What signing in leads to, without the work of it."""
        self.client.cookies.set("flux1_session", parts.store.accounts.open_session(account_id, 1))
        return self

    @property
    def token(self) -> str:
        return re.search(r'name="csrf-token" content="(\w+)"', self.get("/gallery").text)[1]

    def draw(self, **fields) -> tuple[str, list[dict]]:
        """A request's id and the events of its stream."""
        headers = {"accept": "text/event-stream", "x-csrf-token": self.token}
        answer = self.client.post("/playground/generate", json=TYPED | fields, headers=headers)
        assert answer.status_code == 200, answer.text
        lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        return answer.headers["x-job-id"], [json.loads(line[6:]) for line in lines]


def with_settings(parts: Parts, client=("testclient", 50_000), **changes) -> Visitor:
    """Somebody at a service that was started with other settings."""
    settings = parts.settings.model_copy(update=changes)
    app = create_app(replace(parts, settings=settings))
    base_url = changes.get("public_url") or "http://testserver"
    return Visitor(TestClient(app, base_url=base_url, client=client))
