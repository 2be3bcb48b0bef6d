"""The dashboard's pages, over a real store and a real engine."""

import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from flux1.server.app import create_app
from flux1.server.parts import Parts
from flux1.server.web.sessions import inside
from flux1.server.web.throttle import PER_EMAIL
from flux1.store.open import open_store
from service import PASSWORD, Running, newcomer

PAGES = ("/playground", "/gallery", "/requests", "/keys", "/usage", "/verify")
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


@pytest.fixture
def visitor(service) -> Iterator[Visitor]:
    with httpx.Client(base_url=service[1], timeout=60) as client:
        yield Visitor(client)


@pytest.fixture
def member(caller: Running, visitor: Visitor) -> Visitor:
    """Somebody with an account of their own, signed in."""
    return visitor.enter(caller.parts, caller.account_id)


@pytest.fixture
def administrator(service) -> Iterator[Visitor]:
    parts, url = service
    accounts = parts.store.accounts
    account = accounts.find("root@example.com") or accounts.register(
        "root@example.com", PASSWORD, administrator=True
    )
    with httpx.Client(base_url=url, timeout=60) as client:
        yield Visitor(client).enter(parts, account.id)


@pytest.fixture
def empty(service, tmp_path) -> Parts:
    """The same engine beside a store that nobody has an account in yet."""
    parts, _ = service
    settings = parts.settings.model_copy(update={"data": tmp_path / "empty", "database": None})
    return replace(parts, settings=settings, store=open_store(settings))


def with_settings(parts: Parts, client=("testclient", 50_000), **changes) -> Visitor:
    """Somebody at a service that was started with other settings."""
    settings = parts.settings.model_copy(update=changes)
    app = create_app(replace(parts, settings=settings))
    base_url = changes.get("public_url") or "http://testserver"
    return Visitor(TestClient(app, base_url=base_url, client=client))


# sign up, in and out


def test_the_first_account_administers_and_the_second_does_not(empty):
    first = with_settings(empty)
    assert "becomes the administrator" in first.get("/").text
    assert "<strong>administrator</strong>" in first.get("/signup").text
    answer = first.send("/signup", email="Ada@Example.com", password=PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/playground")
    assert first.get("/admin").status_code == 200
    second = with_settings(empty)
    assert "administrator</strong>" not in second.get("/signup").text
    assert second.send("/signup", email="bob@example.com", password=PASSWORD).status_code == 303
    assert second.get("/admin").status_code == 403
    assert [(a.email, a.administrator) for a in empty.store.accounts.list()] == [
        ("ada@example.com", True), ("bob@example.com", False),
    ]  # fmt: skip


def test_closed_sign_up_lets_the_first_account_in_and_no_other(empty):
    first = with_settings(empty, open_signup=False)
    assert first.send("/signup", email="a@example.com", password=PASSWORD).status_code == 303
    second = with_settings(empty, open_signup=False)
    assert "takes no new accounts" in second.get("/signup").text
    assert "<form" not in second.get("/signup").text.partition("<main")[2]
    answer = second.send("/login", "/signup", email="b@example.com", password=PASSWORD)
    assert answer.status_code == 403
    assert "takes no new accounts" in answer.text
    assert empty.store.accounts.count() == 1


@pytest.mark.parametrize(
    ("email", "password", "said"),
    [
        ("nobody", PASSWORD, "is not an address"),
        ("new@example.com", "short", "Password has 5 characters"),
        ("new@example.com", "x" * 300, "Password has 300 characters"),
        ("\0@example.com", PASSWORD, "is not an address"),
    ],
)
def test_a_refused_sign_up_says_why_and_keeps_what_was_typed(visitor, email, password, said):
    answer = visitor.send("/signup", email=email, password=password)
    assert answer.status_code == 422
    assert said in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert password not in answer.text
    if email.isprintable():
        assert f'value="{email}"' in answer.text


def test_an_email_is_taken_once(caller, visitor):
    answer = visitor.send("/signup", email=caller.account.email.upper(), password=PASSWORD)
    assert answer.status_code == 422
    assert "has an account already" in answer.text


def test_a_wrong_password_and_an_unknown_email_read_the_same(caller, visitor):
    answers = [
        visitor.send("/login", email=email, password="not the right one")
        for email in (caller.account.email, "nobody@example.com")
    ]
    assert [answer.status_code for answer in answers] == [422, 422]
    told = [re.search(r'class="wrong".*?>(.*?)<', answer.text)[1] for answer in answers]
    assert told == ["Password does not belong to this e-mail"] * 2


def test_a_disabled_account_is_out_at_once(caller, member, administrator):
    users = "/admin/accounts/" + caller.account_id
    assert administrator.send("/admin", users, action="disable").status_code == 303
    assert member.get("/gallery").status_code == 303
    member.client.cookies.clear()
    answer = member.send("/login", email=caller.account.email, password=PASSWORD)
    assert "this account is disabled" in answer.text
    assert administrator.send("/admin", users, action="enable").status_code == 303
    member.sign_in(caller.account.email)


def test_signing_out_ends_the_session_itself(member):
    cookies = dict(member.client.cookies)
    assert member.send("/gallery", "/logout").headers["location"] == "/"
    assert member.get("/gallery").status_code == 303
    member.client.cookies.update(cookies)
    assert member.get("/gallery").status_code == 303


def test_passwords_can_be_tried_only_so_often(empty):
    empty.store.accounts.register("a@example.com", PASSWORD)
    visitor = with_settings(empty)
    for _ in range(PER_EMAIL.amount):
        answer = visitor.send("/login", email="a@example.com", password="a wrong password")
        assert answer.status_code == 422
    answer = visitor.send("/login", email=" A@example.com", password=PASSWORD)
    assert answer.status_code == 429
    assert re.search(r"Wait \d+ minutes?", answer.text)
    assert 'value=" A@example.com"' in answer.text
    other = empty.store.accounts.register("b@example.com", PASSWORD)
    visitor.sign_in(other.email)
    elsewhere = with_settings(empty, client=("192.0.2.1", 50_000))
    elsewhere.sign_in("a@example.com")  # whoever tried has locked out nobody but themselves


def test_the_cookies_are_out_of_reach_of_scripts_and_other_sites(empty):
    empty.store.accounts.register("a@example.com", PASSWORD)
    plain = with_settings(empty)
    set_cookie = plain.send("/login", email="a@example.com", password=PASSWORD).headers[
        "set-cookie"
    ]
    assert set_cookie.startswith("flux1_session=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(set_cookie.split("; "))
    assert "Secure" not in set_cookie
    safe = with_settings(empty, public_url="https://pictures.example")
    set_cookie = safe.send("/login", email="a@example.com", password=PASSWORD).headers["set-cookie"]
    assert set_cookie.startswith("__Host-flux1_session=")
    assert {"HttpOnly", "SameSite=lax", "Secure", "Path=/"} <= set(set_cookie.split("; "))


def test_the_log_in_leads_back_to_where_one_was_going(caller, visitor):
    answer = visitor.get("/requests?text=a%20fox")
    assert answer.headers["location"] == "/login?next=/requests%3Ftext%3Da%2520fox"
    login = answer.headers["location"]
    answer = visitor.send(login, "/login", email=caller.account.email, password=PASSWORD)
    assert answer.headers["location"] == "/requests?text=a%20fox"
    assert visitor.get("/login?next=/keys").headers["location"] == "/keys"


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "evil", "",
     "/\t/evil.example", "/%0a\n/evil", "javascript:alert(1)", " /keys"],
)  # fmt: skip
def test_the_log_in_leads_nowhere_else(elsewhere):
    assert inside(elsewhere) == "/playground"


# what keeps strangers out


@pytest.mark.parametrize("path", [*PAGES, "/admin", "/requests/req_1", "/usage.csv",
                                  "/requests.csv", "/pictures/img_1_0.png"])  # fmt: skip
def test_nobody_sees_a_page_without_a_session(visitor, path):
    answer = visitor.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?next={path}"
    told = visitor.get(path, headers={"accept": "application/json"})
    assert told.status_code == 401
    assert told.json()["error"]["code"] == "not_signed_in"


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/keys", {"name": "k"}), ("/logout", {}), ("/requests/req_1/erase", {}), ("/verify", {}),
     ("/playground/generate", {})],
)  # fmt: skip
def test_a_form_must_come_from_a_page_of_the_session(member, path, fields):
    token = member.token
    elsewhere = [
        ({}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": "é"}, {}),
        ({"csrf": token}, {"origin": "https://evil.example"}),
        ({"csrf": token}, {"origin": "null"}),
        ({"csrf": token}, {"sec-fetch-site": "cross-site"}),
        ({"csrf": token}, {"sec-fetch-site": "same-site"}),
    ]
    for data, headers in elsewhere:
        if path.endswith("generate"):
            headers |= {"x-csrf-token": data.get("csrf", "").replace("é", "e")}
            answer = member.client.post(path, json=TYPED, headers=headers)
        else:
            answer = member.client.post(path, data=fields | data, headers=headers)
        assert answer.status_code == 403, (data, headers)
        assert "not come from a page of your session" in answer.text
    assert "No working keys." not in member.get("/keys").text  # only the fixture's own
    assert member.get("/keys").text.count('<li class="card"') == 1


def test_log_in_and_sign_up_forms_must_be_ours_too(service, caller, visitor):
    for page in ("/login", "/signup"):
        before = len(visitor.client.cookies)
        typed = {"email": caller.account.email, "password": PASSWORD}
        bare = httpx.post(f"{service[1]}{page}", data=typed)
        assert bare.status_code == 403
        assert visitor.send(page, csrf="guessed", **typed).status_code == 403
        away = visitor.send(page, headers={"origin": "https://evil.example"}, **typed)
        assert away.status_code == 403
        assert f'value="{caller.account.email}"' in away.text
        assert len(visitor.client.cookies) == max(before, 1)
    assert visitor.get("/gallery").status_code == 303


def test_a_browser_is_told_to_run_load_and_send_nothing_that_is_not_ours(member, administrator):
    answers = [member.get(page) for page in PAGES]
    answers += [administrator.get("/admin"), member.get("/requests/req_none"), member.get("/none")]
    for answer in answers:
        policy = dict(
            rule.strip().split(" ", 1)
            for rule in answer.headers["content-security-policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'",
            "img-src": "'self' data: blob:", "connect-src": "'self'", "form-action": "'self'",
            "frame-ancestors": "'none'", "base-uri": "'none'",
        }  # fmt: skip
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", answer.text)


def test_the_files_of_pages_are_kept_by_browsers_until_they_change(visitor):
    page = visitor.get("/login").text
    found = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    kinds = {urlsplit(path).path.rpartition(".")[2] for path in found}
    assert kinds == {"js", "css", "svg"}
    for path in found:
        answer = visitor.get(path)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert visitor.get("/static/app.css").headers["content-type"] == "text/css; charset=utf-8"
    assert visitor.get("/static/app.css?v=older").headers["cache-control"] == "no-cache"
    assert "Zero-Clause BSD" in visitor.get("/static/htmx.LICENSE.txt").text
    assert visitor.get("/static/..%2fpages.py").status_code == 404


def test_what_is_not_there_is_a_page_for_people_and_the_envelope_for_programs(member):
    for path in ("/nothing", "/requests/req_nothing", "/playground?again=req_nothing"):
        answer = member.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "<h1>Not Found</h1>" in answer.text
    wrong = member.client.put("/keys")
    assert wrong.status_code == 405
    assert "GET" in wrong.headers["allow"]
    assert "<h1>Method Not Allowed</h1>" in wrong.text
    told = member.get("/nothing", headers={"accept": "application/json"})
    assert told.json()["error"]["code"] == "not_found"
    api = member.get("/v1/nothing")
    assert api.json()["error"]["code"] == "not_found"
    assert member.get("/v1/models").json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "path",
    ["/requests?text=%00", "/requests?status=done", "/requests?before=%00", "/gallery?before='--",
     "/usage?days=8", "/usage?days=x", "/requests?everyone=maybe", "/playground?seed=-1",
     "/requests?text=" + "x" * 300, "/requests/%00", "/pictures/%00.png", "/usage.csv?days=0"],
)  # fmt: skip
def test_bad_addresses_are_refused_as_pages(member, path):
    answer = member.get(path)
    assert answer.status_code in (400, 404)
    assert "<h1>" in answer.text


# keys


def test_a_key_is_shown_once_opens_the_api_and_is_revoked(service, member):
    made = member.send(
        "/keys", name="a <laptop>", scopes=["images:write", "images:read"], expires="30",
        images_per_day="5", megapixels_per_day="0.5",
    )  # fmt: skip
    secret = re.search(r'<code id="secret">(fx1_\w{43})</code>', made.text)[1]
    assert made.headers["cache-control"] == "no-store"
    assert "a &lt;laptop&gt;" in made.text
    shown = html.unescape(re.search(r'<code id="curl">(.*?)</code>', made.text, re.S)[1])
    assert shown.startswith(f"curl {service[1]}/v1/images/generations")
    assert f"'Authorization: Bearer {secret}'" in shown
    assert secret not in member.get("/keys").text
    bearer = {"authorization": f"Bearer {secret}"}
    assert httpx.get(f"{service[1]}/v1/models", headers=bearer).status_code == 200
    refused = httpx.get(f"{service[1]}/v1/usage", headers=bearer)
    assert refused.json()["error"]["code"] == "insufficient_scope"
    page = member.get("/keys").text
    assert re.search(r"Pictures a day</dt><dd>5<", page)

    (key_id,) = re.findall(r'id="(key_\w+)">\s*<h2>a &lt;', page)
    replaced = member.send("/keys", f"/keys/{key_id}/rotate")
    newer = re.search(r'<code id="secret">(fx1_\w{43})</code>', replaced.text)[1]
    assert httpx.get(f"{service[1]}/v1/models", headers=bearer).status_code == 401
    bearer = {"authorization": f"Bearer {newer}"}
    assert httpx.get(f"{service[1]}/v1/models", headers=bearer).status_code == 200
    (key_id,) = re.findall(r'id="(key_\w+)">\s*<h2>a &lt;', replaced.text)
    assert member.send("/keys", f"/keys/{key_id}/revoke").headers["location"] == "/keys"
    assert (
        "revoked" in httpx.get(f"{service[1]}/v1/models", headers=bearer).json()["error"]["message"]
    )
    assert member.send("/keys", f"/keys/{key_id}/rotate").status_code == 404


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"name": " "}, "Name &#39;&#39; is not a name"),
        ({"name": "x" * 101}, "Name has 101 characters"),
        ({"scopes": []}, "Scopes is empty"),
        ({"scopes": ["root"]}, "Scopes &#39;root&#39; is not one of"),
        ({"expires": "8"}, "Expiry &#39;8&#39; is not one of the times"),
        ({"images_per_day": "many"}, "Pictures a day &#39;many&#39; is not a whole number"),
        ({"images_per_day": "-1"}, "Pictures a day -1 is not from 1"),
        ({"megapixels_per_day": "nan"}, "Megapixels a day nan is not from"),
        ({"concurrency": "9" * 5000}, "Open requests at once"),
        ({"tolerance": "7"}, "strict) to 6 7 is not from 0 to 6"),
    ],
)
def test_a_refused_key_says_why_beside_the_field(member, typed, said):
    fields = {"name": "kept", "scopes": ["images:read"], "requests_per_minute": "3"} | typed
    answer = member.send("/keys", **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert 'value="3"' in answer.text
    if "name" not in typed:
        assert 'value="kept"' in answer.text
    assert member.get("/keys").text.count('<li class="card"') == 1


# the playground


def test_a_picture_is_drawn_shown_found_and_erased(caller, member):
    job_id, events = member.draw(partial_images=2, steps=4)
    kinds = [event["type"].rpartition(".")[2] for event in events]
    assert kinds.count("completed") == 1
    assert kinds[-1] == "completed"
    assert 1 <= kinds.count("partial_image") <= 2
    assert events[-1]["id"] == job_id
    stored = caller.parts.store.requests.get(job_id)
    assert (stored.api, stored.key_id, stored.status) == ("playground", None, "succeeded")

    path = f"/pictures/{events[-1]['image_id']}.png"
    assert path in member.get("/gallery").text
    assert path in member.get("/requests").text
    detail = member.get(f"/requests/{job_id}").text
    assert '<h1 class="request">a fox</h1>' in detail
    assert path in detail
    assert stored.model_hash in detail
    assert stored.request_id in detail
    picture = member.get(path)
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (64, 64)
    again = member.get(f"/playground?again={job_id}&seed=7").text
    assert re.search(r'id="steps"[^>]*value="4"', again)
    assert re.search(r'id="seed"[^>]*value="7"', again)
    assert ">a fox</textarea>" in again

    assert member.send("/keys", f"/requests/{job_id}/erase").status_code == 303
    assert member.get(path).status_code == 404
    after = member.get(f"/requests/{job_id}").text
    assert "a fox" not in after
    assert "Erased request" in after
    assert "a fox" not in member.get("/requests").text
    assert path not in member.get("/gallery").text
    assert member.get(f"/playground?again={job_id}").status_code == 404


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"prompt": ""}, "prompt"), ({"steps": 5000}, "steps"), ({"size": "70x64"}, "width"),
     ({"model": "flux-pro"}, "model"), ({"colour": "red"}, "colour"), ({"n": 11}, "n"),
     ({"stream": True, "partial_images": 4}, "partial_images")],
)  # fmt: skip
def test_a_refused_request_is_told_in_the_envelope(member, fields, param):
    headers = {"accept": "text/event-stream", "x-csrf-token": member.token}
    answer = member.client.post("/playground/generate", json=TYPED | fields, headers=headers)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"] == param


def test_going_away_cancels(caller, member):
    headers = {"accept": "text/event-stream", "x-csrf-token": member.token}
    body = TYPED | {"steps": 1000, "n": 10, "partial_images": 1}
    with member.client.stream("POST", "/playground/generate", json=body, headers=headers) as answer:
        job_id = answer.headers["x-job-id"]
        place = member.get(f"/playground/place/{job_id}")
        assert set(place.json()) == {"ahead", "seconds", "progress"}
        assert 0 <= place.json()["progress"] < 1
        page = member.get(f"/requests/{job_id}").text
        assert "Cancel it" in page
        assert member.send("/keys", f"/requests/{job_id}/erase").status_code == 409
        assert member.send("/keys", f"/requests/{job_id}/cancel").status_code == 303
        said = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert said[-1]["error"]["code"] == "cancelled"
    assert caller.parts.store.requests.get(job_id).status == "cancelled"
    assert member.get(f"/playground/place/{job_id}").status_code == 204


# the audit


def test_requests_are_searched_paged_and_exported(caller, member):
    ids = [
        member.draw(prompt=prompt, n=1)[0] for prompt in ("a fox", "a Fox den", "50% off", "=1+1")
    ]

    def rows(query: str) -> list[str]:
        return re.findall(r'href="/requests/(req_\w+)"', member.get(f"/requests?{query}").text)

    assert rows("") == ids[::-1]
    assert rows("text=fox") == [ids[1], ids[0]]
    assert rows("text=50%25") == [ids[2]]
    assert rows("text=_") == []
    assert rows(f"text={ids[3]}") == [ids[3]]
    assert rows("status=failed") == []
    assert rows("status=succeeded&text=den") == [ids[1]]
    assert rows(f"before={ids[2]}") == [ids[1], ids[0]]
    lines = member.get("/requests.csv?text=1").text.splitlines()
    assert len(lines) == 2
    assert "'=1+1" in lines[1]
    assert caller.account.email in lines[1]


def test_older_pages_follow(caller, member, monkeypatch):
    from flux1.server.web import gallery, requests

    monkeypatch.setattr(requests, "PAGE", 2)
    monkeypatch.setattr(gallery, "PAGE", 2)
    for _ in range(3):
        member.draw()
    for place, pattern in (("/requests", r'href="/requests/(req_\w+)"'),
                           ("/gallery", r'src="/pictures/(\w+)')):  # fmt: skip
        newest = member.get(place).text
        (link,) = set(re.findall(rf'href="({place}\?[^"]*before=\w+)"', newest))
        older = member.get(html.unescape(link)).text
        found = [re.findall(pattern, page) for page in (newest, older)]
        assert [len(set(page)) for page in found] == [2, 1]
        assert not set(found[0]) & set(found[1])


def test_nothing_of_one_account_shows_to_another(service, caller, member):
    job_id, events = member.draw(prompt="a secret fox")
    picture_id = events[-1]["image_id"]
    picture = f"/pictures/{picture_id}.png"
    (key,) = caller.parts.store.keys.list(caller.account_id)
    other = newcomer(*service, "other-" + caller.account.email)
    with httpx.Client(base_url=service[1], timeout=60) as client:
        stranger = Visitor(client).enter(other.parts, other.account_id)
        nothing = stranger.get(f"/playground/place/{job_id}")
        assert (nothing.status_code, nothing.text) == (204, "")
        for path in (f"/requests/{job_id}", picture, f"/playground?again={job_id}"):
            answer = stranger.get(path)
            assert answer.status_code == 404
            assert "secret" not in answer.text
        for path in ("/gallery", "/requests", "/requests?text=secret", f"/requests?text={job_id}",
                     f"/gallery?before={picture_id}", "/requests.csv", "/usage.csv"):  # fmt: skip
            assert "a secret fox" not in stranger.get(path).text
        assert key.id not in stranger.get("/keys").text
        for path in (f"/keys/{key.id}/revoke", f"/keys/{key.id}/rotate",
                     f"/requests/{job_id}/erase", f"/requests/{job_id}/cancel"):  # fmt: skip
            assert stranger.send("/keys", path).status_code == 404
        assert stranger.get("/requests?everyone=true").status_code == 403
        assert stranger.get("/requests.csv?everyone=true").status_code == 403
        assert stranger.send("/keys", f"/admin/accounts/{caller.account_id}",
                             action="disable").status_code == 403  # fmt: skip
    assert member.get(picture).status_code == 200
    assert caller.parts.store.keys.get(caller.account_id, key.id).revoked is None


# the rest


def test_usage_counts_what_was_drawn(member):
    member.draw(n=2)
    page = member.get("/usage?days=7").text
    assert "<strong>2</strong> of 10,000 pictures" in page
    assert page.count("<rect") == 14
    assert re.search(
        r'<rect x="[\d.]+" y="0.0" width="[\d.]+" height="100.0"><title>[\d-]+: 2 pictures', page
    )
    assert re.search(
        r'<th scope="row">Playground</th><td class="number">1</td><td class="number">2</td>', page
    )
    lines = member.get("/usage.csv?days=7").text.splitlines()
    assert len(lines) == 2


def test_a_picture_says_where_it_comes_from_until_it_is_changed(member):
    _, events = member.draw()
    data = member.get(f"/pictures/{events[-1]['image_id']}.png").content
    ours = member.send("/verify", files={"picture": ("fox.png", data, "image/png")})
    assert "Drawn by this server" in ours.text
    assert "fox.png" in ours.text
    assert "a fox" in ours.text  # the recipe
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "PNG")
    plain = member.send("/verify", files={"picture": ("fox.png", buffer.getvalue(), "image/png")})
    assert "No content credentials" in plain.text
    for files in ({"picture": ("empty.png", b"", "image/png")}, None):
        assert "Picture is missing" in member.send("/verify", files=files).text
    odd = member.send("/verify", files={"picture": ("a.txt", b"not a picture", "image/png")})
    assert odd.status_code == 200
    assert "not a PNG, JPEG or WebP file" in odd.text


def test_the_administrator_sees_the_queue_users_models_and_limits(caller, member, administrator):
    job_id, events = member.draw()
    page = administrator.get("/admin").text
    for shown in ("Waiting", caller.account.email, "Apache-2.0", "Pictures a day, each key"):
        assert shown in page
    for hidden in (str(caller.parts.settings.data), caller.parts.store.secret):
        assert hidden not in page
    assert caller.account.email in administrator.get("/requests?everyone=true").text
    assert caller.account.email in administrator.get(f"/requests/{job_id}").text
    assert administrator.get(f"/pictures/{events[-1]['image_id']}.png").status_code == 200
    assert administrator.send("/keys", f"/requests/{job_id}/erase").status_code == 404


def test_the_administrator_changes_users_and_not_themselves(caller, member, administrator):
    path = f"/admin/accounts/{caller.account_id}"
    accounts = caller.parts.store.accounts
    assert administrator.send("/admin", path, action="weight", weight="2.5").status_code == 303
    assert accounts.get(caller.account_id).weight == 2.5
    for weight in ("0", "nan", "-1", "heavy", ""):
        answer = administrator.send("/admin", path, action="weight", weight=weight)
        assert answer.status_code == 422
        assert 'id="wrong">weight: ' in answer.text
    assert accounts.get(caller.account_id).weight == 2.5
    assert administrator.send("/admin", path, action="delete").status_code == 422
    assert (
        administrator.send("/admin", "/admin/accounts/acct_no", action="enable").status_code == 404
    )
    own = accounts.find("root@example.com")
    answer = administrator.send("/admin", f"/admin/accounts/{own.id}", action="disable")
    assert "you cannot disable the account you are using" in answer.text
    assert accounts.get(own.id).enabled


def test_parts_of_a_page_that_need_a_log_in_lead_the_whole_page_there(visitor):
    answer = visitor.get("/requests?text=a", headers={"hx-request": "true"})
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login?next=/requests%3Ftext%3Da"
