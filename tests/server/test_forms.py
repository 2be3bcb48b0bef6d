"""Forms: what browsers and clients send is read, what nobody sends is refused, whoever sends it."""

import httpx2 as httpx
import pytest

from flux1.errors import nearest
from flux1.server.bfl import FluxBody
from flux1.server.openai import ImageGenerationBody
from flux1.server.problems import Problem
from flux1.server.web.forms import Fields, parse
from flux1.server.web.sessions import own_cookies

NAMES = {"email": "ada@example.com", "password": 'b"ü\\ &=% 狐', "empty": ""}
FRAME = 'multipart/form-data; boundary="a b"'


def sent(**form) -> Fields:
    """A form as the client sends it over the wire."""
    request = httpx.Request("POST", "http://flux1.example/", **form)
    return parse(request.headers["content-type"], request.read())


def part(name: str, value: bytes) -> bytes:
    return b'--a b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (
        name.encode(), value,
    )  # fmt: skip


@pytest.mark.parametrize("files", [None, {"file": ("狐.png", b"\x00\r\n--a b", "image/png")}])
def test_a_form_says_the_same_in_both_encodings(files):
    fields = sent(data=NAMES, files=files)
    assert {name: fields.text(name) for name in NAMES} == NAMES
    assert (fields.text("file"), fields.text("missing")) == ("", "")
    if files:
        assert fields.file("file").data == files["file"][1]
        assert fields.file("file").name == "狐.png"


def test_a_name_that_comes_twice_has_both_values():
    assert sent(data={"scopes": ["a", "b"]}).texts("scopes") == ["a", "b"]
    twice = part("scopes", b"a") + part("scopes", b"b") + b"--a b--"
    assert parse(FRAME, twice).texts("scopes") == ["a", "b"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (FRAME + "; charset=punycode", part("email", b"1" * 100_000) + b"--a b--\r\n", 415),
        (FRAME + "; charset=undefined", part("email", b"x") + b"--a b--\r\n", 415),
        ("application/x-www-form-urlencoded; charset=utf-7", b"a=b", 415),
        ("text/plain", b"a=b", 415),
        (FRAME, part("email", b"\xff") + b"--a b--", 400),
        (FRAME, part("email", b"x") * 65 + b"--a b--", 400),
        (FRAME, part("email", b"x"), 400),
        (FRAME, b"--a b\r\nContent-Type: text/plain\r\n\r\nx\r\n--a b--", 400),
        (FRAME, b"--a b" + b"\r\n--a b" * 150_000, 400),
        (FRAME, b"x", 400),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=" + "b" * 71, b"--" + b"b" * 71 + b"--", 400),
        ("application/x-www-form-urlencoded", b"a=%ff", 400),
        ("application/x-www-form-urlencoded", b"\xff=b", 400),
        ("application/x-www-form-urlencoded", b"&".join([b"a=b"] * 65), 400),
    ],
)
def test_what_no_browser_sends_is_refused(content_type, body, status):
    with pytest.raises(Problem) as refused:
        parse(content_type, body)
    assert refused.value.status == status


@pytest.mark.parametrize("path", ["/login", "/signup", "/keys", "/verify"])
@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-16"])
def test_no_route_obeys_a_codec(service, caller, path, charset):
    parts, url = service
    token = parts.store.accounts.open_session(caller.account_id, 1)
    headers = {"content-type": f"{FRAME}; charset={charset}"}
    body = part("email", b"1" * 1000) + b"--a b--\r\n"
    cookies = {"flux1_session": token}
    answer = httpx.post(url + path, content=body, headers=headers, cookies=cookies)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_media_type"


def test_other_peoples_cookies_are_not_read():
    quoted = b'theirs="' + b'\\"' * 8_000 + b'"'
    header = b"; ".join([quoted, b"flux1_form=a_b-c", b"__Host-flux1_session=x", b'flux1_x="\\""'])
    assert own_cookies(header) == b"flux1_form=a_b-c; __Host-flux1_session=x"


@pytest.mark.parametrize("kind", [FluxBody, ImageGenerationBody])
def test_a_body_of_very_many_fields_is_refused_as_a_whole(kind):
    with pytest.raises(Exception, match="has 100001 fields, at most 64"):
        kind.model_validate({"prompt": "a fox", **{f"f{i}": 1 for i in range(100_000)}})


def test_a_word_that_is_too_long_to_compare_is_near_nothing():
    assert nearest("step", ["steps"])
    assert nearest("steps" * 21, ["steps" * 21]) == ""
