"""The dashboard's door: who gets in, who stays out, and which pages may send a form."""

import re
from dataclasses import replace
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from flux1.server.parts import Parts
from flux1.server.web.sessions import inside
from flux1.server.web.throttle import PER_EMAIL
from flux1.store.open import open_store
from service import PASSWORD
from visitor import TYPED, with_settings

PAGES = ("/playground", "/gallery", "/requests", "/keys", "/usage", "/verify")


@pytest.fixture
def empty(service, tmp_path) -> Parts:
    """The same engine beside a store that nobody has an account in yet."""
    parts, _ = service
    settings = parts.settings.model_copy(update={"data": tmp_path / "empty", "database": None})
    return replace(parts, settings=settings, store=open_store(settings))


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
