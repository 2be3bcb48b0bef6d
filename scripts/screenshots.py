#!/usr/bin/env python3
"""Takes the documents' pictures of the dashboard: docs/images/dashboard-*.png.

    scripts/screenshots.py [--model NAME] [FOLDER]

It starts `flux1 serve` in a folder of its own, signs up, draws, and visits the pages in Chromium
(Debian's `chromium`, or what `CHROMIUM` names). It needs the extras `serve` and `test`.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
DESK, PHONE = {"width": 1180, "height": 820}, {"width": 360, "height": 740}
PROMPTS = (
    "a castle on a pink background",
    "a butterfly on a yellow background",
    "a cup and a cake",
)
PATIENCE_MS = 90_000
HIDE_SECRETS = """
for (const part of document.querySelectorAll('#secret, #curl'))
  part.textContent = part.textContent.replace(/(fx1_.{6})\\w+/, '$1…')
"""


@contextmanager
def served(model: str) -> Iterator[str]:
    """The address of a server that has no account yet."""
    with tempfile.TemporaryDirectory() as data:
        command = [
            sys.executable,
            "-m",
            "flux1",
            "serve",
            "--model",
            model,
            "--port",
            "0",
            "--json",
        ]
        server = subprocess.Popen([*command, "--data", data], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["base_url"].removesuffix("/v1")
        finally:
            server.terminate()
            server.wait(60)


def shoot(page: Page, folder: Path, name: str) -> None:
    """A small picture of the page from its top."""
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.evaluate(HIDE_SECRETS)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        colours = shot.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT)
    colours.save(folder / f"dashboard-{name}.png", optimize=True)
    print(f"dashboard-{name}.png")


def sign_up(page: Page) -> None:
    page.goto("/signup")
    page.get_by_label("E-mail").fill("ada@example.com")
    page.get_by_label("Password").fill("a long enough password")
    page.get_by_role("button", name="Sign up").click()
    page.wait_for_url("**/playground")


def draw(page: Page, prompt: str, seed: int) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Seed").fill(str(seed))
    page.get_by_label("Pictures", exact=True).fill("2")
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("2 pictures are done.").wait_for()


def tour(page: Page, folder: Path) -> None:
    """Every page that the documents show, in the order of a first visit."""
    sign_up(page)
    for seed, prompt in enumerate(reversed(PROMPTS), start=1):
        page.goto("/playground")
        draw(page, prompt, seed)
    shoot(page, folder, "playground")
    page.goto("/gallery")
    page.wait_for_load_state("networkidle")
    shoot(page, folder, "gallery")
    page.goto("/requests")
    shoot(page, folder, "requests")
    page.goto("/keys")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Create key").click()
    page.locator("#secret").wait_for()
    shoot(page, folder, "keys")
    page.set_viewport_size(PHONE)
    page.goto("/gallery")
    page.wait_for_load_state("networkidle")
    shoot(page, folder, "gallery-phone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=IMAGES)
    parser.add_argument("--model", default="flux-mini")
    asked = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if chromium is None:
        sys.exit("no Chromium is installed; install Debian's chromium, or name one in CHROMIUM")
    with sync_playwright() as playwright, served(asked.model) as url:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(base_url=url, viewport=DESK, color_scheme="light").new_page()
        page.set_default_timeout(PATIENCE_MS)
        tour(page, asked.folder)
        browser.close()


if __name__ == "__main__":
    main()
