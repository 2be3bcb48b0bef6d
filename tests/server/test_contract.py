"""schemathesis: whatever the OpenAPI document allows or forbids, the server does as it says.

The suite runs a few cases of each kind; for more: FLUX1_CONTRACT_EXAMPLES=300.
"""

import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from flux1.variants import TINY
from instant import InstantEngine
from service import joined, newcomer, serving, settings_in

EXAMPLES = os.environ.get("FLUX1_CONTRACT_EXAMPLES", "2")
# What a document of types cannot say (a size of 17 pixels, two names of one field) is refused
# with 400, so that is an answer to data of the right type, too.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404"]
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The server over an engine that draws at once, and a key."""
    folder = tmp_path_factory.mktemp("contract")
    much = {"concurrency": 1000, "images_per_day": 10**9, "megapixels_per_day": 1e9}
    roomy = settings_in(folder).model_copy(update={**much, "requests_per_minute": 10**6})
    with joined(roomy) as parts:
        (model,) = parts.engine.models.values()
        small = replace(model, variant=replace(TINY, max_pixels=256 * 256))
        parts.engine.close(0)
        instant = replace(parts, engine=InstantEngine({small.variant.id: small}))
        with serving(instant) as url:
            yield url, newcomer(parts, url, "contract@example.com").key


@pytest.mark.slow
def test_the_server_does_what_its_document_says(address, tmp_path):
    url, key = address
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    command = [shutil.which("schemathesis"), "run", f"{url}/openapi.json", "--checks", "all"]
    done = subprocess.run(
        [*command, "--header", f"Authorization: Bearer {key}", "--max-examples", EXAMPLES,
         "--seed", "1", "--no-color", "--continue-on-failure"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
