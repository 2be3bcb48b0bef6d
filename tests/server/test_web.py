"""The dashboard's pages, over a real store and a real engine."""

import html
import io
import json
import re

import httpx2 as httpx
import pytest
from PIL import Image

from service import newcomer
from visitor import TYPED, Visitor

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
