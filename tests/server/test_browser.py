"""The whole way through the dashboard in a real browser, on a desk and on a phone."""

import re
import shutil
from collections.abc import Iterator

import openai
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from flux1.cli.serve import Placed, join
from service import EMAIL, PASSWORD, Running, newcomer, serving, settings_in
from worded import KNOWN, UNKNOWN, make_worded

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
PATIENCE_MS = 120_000  # nobody waits that long; a busy machine may
expect.set_options(timeout=PATIENCE_MS)
DESK, PHONE = {"width": 1180, "height": 820}, {"width": 360, "height": 740}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

# What figures said while they were drawn: a preview may be gone before a test looks for it.
REMEMBER_CAPTIONS = """
window.captions = [];
new MutationObserver(() => {
  for (const one of document.querySelectorAll("#runs figcaption"))
    if (!one.parentElement.querySelector("img").hidden) window.captions.push(one.textContent);
}).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Running]:
    """A service, and its administrator."""
    settings = settings_in(tmp_path_factory.mktemp("site"))
    model = str(make_worded(tmp_path_factory.mktemp("model") / "tiny"))
    parts = join(settings, [model], ["flux-dev=tiny"], False, False, Placed("cpu"))
    with serving(parts) as url:
        yield newcomer(parts, url, EMAIL)
    parts.store.close()


@pytest.fixture
def member(site, request) -> str:
    """The e-mail of an account of the test's own."""
    return newcomer(site.parts, site.url, f"{request.node.name}@example.com").account.email


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browser complained about: broken scripts, refused styles, missing files."""
    heard: list[str] = []
    yield heard
    assert heard == []


@pytest.fixture
def context(browser, site, complaints) -> Iterator[BrowserContext]:
    made = browser.new_context(base_url=site.url, viewport=DESK, color_scheme="light")
    made.set_default_timeout(PATIENCE_MS)
    made.grant_permissions(["clipboard-read", "clipboard-write"])
    made.add_init_script(REMEMBER_CAPTIONS)
    made.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    made.on("weberror", lambda error: complaints.append(str(error.error)))
    yield made
    made.close()


@pytest.fixture
def page(context) -> Page:
    return context.new_page()


def in_shape(page: Page) -> None:
    """One heading, and nothing wider than the screen."""
    expect(page.locator("h1")).to_have_count(1)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], f"{page.url} is {width} pixels wide"


def sign_in(page: Page, email: str) -> None:
    page.goto("/login")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/playground")


def draw(page: Page, prompt: str, **fields: str) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    if fields and not page.get_by_label("Steps").is_visible():
        page.get_by_text("More settings").click()
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Draw").click()


def menu(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    in_shape(page)


def test_from_sign_up_to_a_revoked_key(page, site):
    page.goto("/")
    in_shape(page)
    page.get_by_role("link", name="Sign up").click()
    in_shape(page)
    page.get_by_label("E-mail").fill("ada@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    page.wait_for_url("**/playground")

    # a key, which opens the API
    menu(page, "Keys")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("heading", name="Key “laptop” is made")).to_be_focused()
    secret = page.locator("#secret").inner_text()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    assert f"Bearer {secret}" in page.locator("#curl").inner_text()
    in_shape(page)
    shown = page.locator("main").inner_html()
    assert shown.count(secret) == 2  # on its own, and in the line to paste
    page.reload()
    expect(page.locator("#secret")).to_have_count(0)
    client = openai.OpenAI(base_url=f"{site.url}/v1", api_key=secret, max_retries=0)
    client.images.generate(prompt="a turtle", extra_body={"seed": 7, "steps": 2})

    # the playground, with previews while it draws
    menu(page, "Playground")
    draw(page, "a red fox on a blue background", Seed="11", Steps="40")
    expect(page.get_by_role("status")).to_have_text(re.compile("(is|are) done"))
    captions = page.evaluate("window.captions")
    assert any(re.match(r"Preview, step \d+ of \d+", one) for one in captions), captions
    first = page.locator("#runs figure").first
    expect(first.locator("figcaption")).to_have_text(re.compile(r"Seed 11, \d+ . \d+"))
    alt = "a red fox on a blue background"
    assert first.get_by_role("img", name=alt).evaluate("i => i.naturalWidth") > 0
    in_shape(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").first.click()
    with Image.open(download.value.path()) as picture:
        assert picture.format == "PNG"

    # the same picture again
    page.get_by_role("button", name="Again with this seed").first.click()
    assert page.get_by_label("Seed").input_value() == "11"
    assert page.get_by_label("Enlarge").input_value() == ""
    page.get_by_role("button", name="Draw").click()
    expect(page.locator(".run")).to_have_count(2)
    expect(page.get_by_role("status")).to_have_text("The picture is done.")
    same = page.evaluate(
        """async () => {
          const runs = [...document.querySelectorAll(".run")].map((r) => r.querySelector("img"));
          const pixels = runs.map((image) => {
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return context.getImageData(0, 0, canvas.width, canvas.height).data;
          });
          return Math.max(...pixels[0].map((level, i) => Math.abs(level - pixels[1][i])));
        }"""
    )
    assert same <= 1

    # in the gallery and in the audit
    menu(page, "Gallery")
    expect(page.get_by_role("link", name="a turtle")).to_be_visible()
    assert page.get_by_role("link", name=alt).count() == 2
    for picture in page.locator("#pictures img").all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    menu(page, "Requests")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.get_by_label("Words of the prompt, or an id").press_sequentially("turt")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "text=turt" in page.url
    page.locator("tbody a").click()
    expect(page.get_by_role("heading", name="a turtle")).to_be_visible()
    expect(page.get_by_text("key laptop")).to_be_visible()
    in_shape(page)
    picture = page.get_by_role("img", name="a turtle")
    assert picture.evaluate("i => i.complete && i.naturalWidth > 0")

    menu(page, "Usage")
    expect(page.get_by_role("row", name="laptop")).to_contain_text("1")

    # where a picture comes from
    menu(page, "Verify")
    page.get_by_label("Picture").set_input_files(download.value.path())
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("heading", name="Drawn by this server")).to_be_visible()
    in_shape(page)

    # the key is revoked, and refused
    menu(page, "Keys")
    page.get_by_text("Revoke", exact=True).click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_text("No working keys.")).to_be_visible()
    with pytest.raises(openai.AuthenticationError, match="revoked"):
        client.images.generate(prompt="a turtle")
    client.close()

    # another account, the administrator's
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").click()
    in_shape(page)
    sign_in(page, EMAIL)
    menu(page, "Gallery")
    expect(page.get_by_text("No pictures yet.")).to_be_visible()
    menu(page, "Admin")
    expect(page.get_by_role("row", name="ada@example.com")).to_contain_text("enabled")


def test_on_a_phone_by_keyboard(page):
    page.set_viewport_size(PHONE)
    sign_in(page, EMAIL)
    in_shape(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.type("a small house")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_have_text("The picture is done.")
    in_shape(page)
    for name in ("Gallery", "Requests", "Keys", "Usage", "Verify", "Admin"):
        menu(page, name)
    menu(page, "Requests")
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", name="a small house")).to_be_visible()
    in_shape(page)


def test_a_picture_is_enlarged_and_its_settings_are_filled_in_again(page, member):
    sign_in(page, member)
    page.get_by_label("Enlarge").select_option("4")
    draw(page, "a large fox", Steps="40")
    expect(page.get_by_role("status")).to_have_text("The picture is done.")
    shown = page.get_by_role("img", name="a large fox")
    assert shown.evaluate("i => [i.naturalWidth, i.naturalHeight]") == [256, 256]
    page.get_by_role("link", name="Details").first.click()
    page.get_by_role("link", name="Draw again").click()
    page.wait_for_url("**/playground?again=*")
    assert page.get_by_label("Enlarge").input_value() == "4"


def test_what_the_model_never_learnt_is_said_above_the_picture(page, member):
    sign_in(page, member)
    sizes = page.get_by_label("Size").locator("option").all_inner_texts()
    assert sum("not trained" in size for size in sizes) == len(sizes) - 3  # two, and "other"
    note = page.locator("#runs .note").first
    draw(page, UNKNOWN, Steps="40")
    expect(note).to_contain_text("words that tiny never learnt: zorb")
    in_shape(page)
    draw(page, KNOWN, Steps="40")
    expect(page.locator(".run")).to_have_count(2)
    expect(page.get_by_role("status")).to_have_text("The picture is done.")
    expect(note).to_be_hidden()


def test_cancelling_stops_the_work(page, site, member):
    sign_in(page, member)
    draw(page, "a long way", Steps="1000", Pictures="10")
    page.get_by_text(re.compile("Waiting|Drawing")).first.wait_for()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Draw")).to_be_focused()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    page.goto("/requests")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("cancelled")
    status = site.parts.engine.status()
    assert (status.waiting, status.running) == (0, 0)


def test_what_is_wrong_is_said_beside_the_field(page, member, complaints):
    sign_in(page, member)
    draw(page, "  ")
    expect(page.get_by_role("alert")).to_have_text("Say what to draw.")
    expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
    draw(page, "a fox", Guidance="300")
    expect(page.get_by_role("alert")).to_contain_text("guidance")
    expect(page.get_by_label("Guidance", exact=True)).to_be_focused()
    page.get_by_label("Guidance", exact=True).fill("")
    page.get_by_label("Size").select_option("own")
    page.get_by_label("Width").fill("70")
    page.get_by_role("button", name="Draw").click()
    expect(page.get_by_role("alert")).to_contain_text("nearest: 64")
    expect(page.get_by_label("Width")).to_be_focused()

    page.goto("/keys")
    page.get_by_label("Name").fill("one")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_text("Scopes is empty")).to_be_visible()
    assert page.get_by_label("Name").input_value() == "one"
    # a browser's own note of each refusal is all that it may say
    assert len(complaints) == 3
    assert all("status of 4" in said for said in complaints)
    complaints.clear()


def test_words_that_look_like_a_script_stay_words(page, member):

    sign_in(page, member)
    evil = "<img src=x onerror=window.evil=1><script>window.evil=1</script>"
    draw(page, evil)
    expect(page.get_by_role("status")).to_have_text("The picture is done.")
    for place in ("/gallery", "/requests"):
        page.goto(place)
        expect(page.get_by_text("<script>window.evil=1").first).to_be_visible()
        assert page.evaluate("window.evil") is None
