"""The page in examples/browser draws what Python draws, in a real browser.

Skipped where there is no Chromium, and where onnxruntime-web cannot be had from the npm registry.
With FLUX1_SCREENSHOTS=folder it leaves pictures of the page there.
"""

import base64
import io
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from flux1 import make_request
from flux1.events import Finished
from flux1.export.parity import levels_apart
from flux1.runtime.folder import INDEX, read_folder
from flux1.runtime.noise import standard_normal
from flux1.runtime.text import Words
from graphs import by_onnx, exported

PAGE = Path(__file__).parents[2] / "examples" / "browser"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
SHOTS = os.environ.get("FLUX1_SCREENSHOTS")
PATIENCE_MS = 120_000
MODEL = "flux-mini-schnell"
PROMPTS = [
    "", "a red fox", "Ein GROẞER Füchslein-Fuchs, rot & schön!", "狐 fox\t\nnew  line\u200b",
    "x" * 101, "don't [SEP] stop", "ΣΊΣΥΦΟΣ résumé naïve", "fox " * 40, "🦊 ½ °C — “quoted”",
]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def vendor(tmp_path_factory) -> Path:
    """onnxruntime-web: what the script fetched, or fetches now."""
    if (PAGE / "vendor").is_dir():
        return PAGE / "vendor"
    if shutil.which("npm") is None:
        pytest.skip("no npm is installed, and examples/browser/vendor is not there")
    place = tmp_path_factory.mktemp("npm") / "vendor"
    done = subprocess.run([PAGE / "vendor.sh", place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"vendor.sh: the npm registry gave no onnxruntime-web: {done.stderr[-200:]}")
    return place


class Handler(SimpleHTTPRequestHandler):
    """Files of the page, and two folders that lie elsewhere."""

    def __init__(self, *given, elsewhere: dict[str, Path], **named) -> None:
        self.elsewhere = elsewhere
        super().__init__(*given, directory=str(PAGE), **named)

    def translate_path(self, path: str) -> str:
        first, _, rest = path.partition("?")[0].lstrip("/").partition("/")
        if first in self.elsewhere:
            return str(self.elsewhere[first] / rest)
        return super().translate_path(path)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def site(vendor, tmp_path_factory) -> Iterator[str]:
    foreign = tmp_path_factory.mktemp("foreign")
    (foreign / INDEX).write_text('{"_class_name": "FluxPipeline"}')
    elsewhere = {"vendor": vendor, "model": exported(MODEL), "foreign": foreign}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, elsewhere=elsewhere))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator[Page]:
    made = browser.new_page(viewport={"width": 1100, "height": 640}, color_scheme="light")
    made.set_default_timeout(PATIENCE_MS)
    yield made
    made.close()


def drawn(page: Page, prompt: str, seed: int, size: str) -> Image.Image:
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_label("Seed").fill(str(seed))
    page.get_by_label("Size").select_option(size)
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Drawn in", timeout=PATIENCE_MS)
    link = page.get_by_role("link", name="Save the picture").get_attribute("href")
    return Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))).convert("RGB")


def test_the_page_draws_pythons_pictures(page, site):
    complaints: list[str] = []
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    page.goto(site)
    expect(page.get_by_role("status")).to_have_text("Ready", timeout=PATIENCE_MS)
    onnx = by_onnx(MODEL)
    for prompt, seed, size in (
        ("a red fox on a blue background", 1, "256x256"),
        ("three apples, flat", 4_294_967_295, "384x256"),
    ):
        width, height = map(int, size.split("x"))
        request = make_request(onnx.variant, prompt, seed=seed, width=width, height=height)
        (wanted,) = (e.picture for e in onnx.stream([request]) if isinstance(e, Finished))
        found = drawn(page, prompt, seed, size)
        assert found.size == (width, height)
        assert levels_apart(found, wanted).max() <= 1
        assert np.asarray(found).std() > 10  # a picture
    assert complaints == []
    if SHOTS:
        page.set_viewport_size({"width": 1100, "height": 640})
        drawn(page, "a red fox on a blue background", 1, "256x256")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=f"{SHOTS}/browser-{scheme}.png")
        page.set_viewport_size({"width": 360, "height": 740})
        page.screenshot(path=f"{SHOTS}/browser-phone.png", full_page=True)


def test_words_and_noise_are_pythons(page, site):
    page.goto(f"{site}/README.md")
    folder = exported(MODEL)
    words = Words(folder / read_folder(folder).tokenizers["bert"], 32)
    read = page.evaluate(
        """async (prompts) => {
          const {Words} = await import("/words.js");
          const file = await fetch("/model/tokenizer/tokenizer.json");
          const words = new Words(await file.json(), 32);
          return prompts.map((prompt) => words.read(prompt).ids);
        }""",
        PROMPTS,
    )
    assert read == [words(prompt)[0] for prompt in PROMPTS]
    for seed in (0, 7, 2**32 - 1):
        noise = page.evaluate(
            """async (seed) => {
              const {standardNormal} = await import("/noise.js");
              return Array.from(standardNormal(seed, 4096));
            }""",
            seed,
        )
        np.testing.assert_allclose(noise, standard_normal(seed, 4096), rtol=0, atol=6e-7)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "has no model_index.json; make it: flux1 export onnx"),
        ("foreign", "is none that this page reads; make one: flux1 export onnx"),
    ],
)
def test_what_cannot_be_read_is_one_line(page, site, folder, message):
    page.goto(f"{site}/?model={folder}")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(message, timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="Draw", exact=True)).to_be_disabled()
    assert "\n" not in alert.inner_text()
