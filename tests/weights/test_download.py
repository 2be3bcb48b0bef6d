"""`flux1 download` as a user runs it, from a site on this machine that holds a small FLUX.1."""

import json
import os
import subprocess
import sys

import pytest

from flux1.errors import RequestError
from flux1.variants import find
from flux1.weights.download import plan_download
from flux1.weights.sources import locate
from hub import hub
from synthetic import make_diffusers_folder

SCHNELL = "black-forest-labs/FLUX.1-schnell"
DEV = "black-forest-labs/FLUX.1-dev"
NOT_NEEDED = ("README.md", "flux1-schnell.safetensors", "ae.safetensors", "schnell_grid.jpeg",
              "transformer/diffusion_pytorch_model.fp16.bin")  # fmt: skip


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A small model and what else its repository holds."""
    folder = make_diffusers_folder(tmp_path_factory.mktemp("published"), guidance=False)
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    scheduler = {"scheduler/scheduler_config.json": b"{}", "LICENSE.md": b"Apache"}
    return files | scheduler | dict.fromkeys(NOT_NEEDED, b"x" * 2000)


@pytest.fixture
def site(published):
    with hub({SCHNELL: published}, gated=(DEV,)) as server:
        yield server


def download(server, home, *words, models=None, **more):
    settings = {
        "HF_ENDPOINT": server if isinstance(server, str) else server.address,
        "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", **more,
    }  # fmt: skip
    given = {k: v for k, v in os.environ.items() if k not in ("HF_TOKEN", "FLUX1_MODELS")}
    if models:
        settings["FLUX1_MODELS"] = str(models)
    return subprocess.run(
        [sys.executable, "-m", "flux1", "download", *words],
        env=given | settings, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def held(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_the_files_that_are_needed_arrive_and_no_others(site, tmp_path, published):
    models = tmp_path / "models"
    needed = {name: content for name, content in published.items() if name not in NOT_NEEDED}
    size = sum(map(len, needed.values()))
    dry = download(site, tmp_path / "home", "flux-schnell", "--dry-run", "--json", models=models)
    told = json.loads(dry.stdout)
    assert (told["bytes"], told["missing_bytes"], told["fetched"]) == (size, size, False)
    assert {file["path"] for file in told["files"]} == needed.keys()
    assert "licence: Apache-2.0" in dry.stderr
    assert not models.exists()
    assert not any("/resolve/" in path for _, path, _ in site.asked)

    done = download(site, tmp_path / "home", "flux-schnell", models=models)
    assert done.returncode == 0, done.stderr
    assert "every file is what the site has" in done.stderr
    assert held(models / "flux-schnell") == needed
    assert locate("flux-schnell", models).layout == "diffusers"

    site.asked.clear()
    again = download(site, tmp_path / "home", "schnell", "--json", "-q", models=models)
    assert json.loads(again.stdout)["missing_bytes"] == 0
    assert again.stderr == ""
    assert not any(kind == "GET" and "/resolve/" in path for kind, path, _ in site.asked)


def test_without_a_models_folder_the_cache_is_used_and_found(site, tmp_path):
    done = download(site, tmp_path, "flux-schnell", "--json")
    folder = json.loads(done.stdout)["folder"]
    assert folder.startswith(str(tmp_path / "hub"))
    assert locate("flux-schnell", cache=tmp_path / "hub").root.samefile(folder)


def test_a_broken_connection_goes_on_in_the_middle_of_a_file(tmp_path):
    """The library keeps pieces of 10 MiB: two of them are there when the line breaks."""
    large = os.urandom(25_000_000)
    name = "transformer/diffusion_pytorch_model.safetensors"
    with hub({SCHNELL: {"model_index.json": b"{}", name: large}}) as site:
        site.breaks = [22_000_000]
        done = download(site, tmp_path, "flux-schnell", models=tmp_path / "models")
    assert done.returncode == 0, done.stderr
    ranges = [asked for kind, path, asked in site.asked if kind == "GET" and path.endswith(name)]
    assert ranges == [None, f"bytes={20 * 2**20}-"]
    assert (tmp_path / "models" / "flux-schnell" / name).read_bytes() == large


def test_the_next_run_fetches_what_is_still_missing(site, tmp_path, published):
    late = "vae/diffusion_pytorch_model.safetensors"
    site.failing = {late}
    broken = download(site, tmp_path, "flux-schnell", models=tmp_path)
    assert broken.returncode == 2
    assert broken.stderr.splitlines()[-1] == (
        f"flux1: {SCHNELL}: the site answered 500; try later; what was fetched is kept: run it "
        "again to go on"
    )
    have = held(tmp_path / "flux-schnell")
    assert have.items() < published.items()
    site.failing, site.asked = set(), []
    assert download(site, tmp_path, "flux-schnell", models=tmp_path).returncode == 0
    got = {
        path.split("/resolve/")[1].partition("/")[2]
        for kind, path, _ in site.asked
        if kind == "GET" and "/resolve/" in path
    }
    assert late in got
    assert not got & have.keys()
    assert held(tmp_path / "flux-schnell").keys() > have.keys()


@pytest.mark.parametrize("models", [True, False])
def test_a_file_that_was_spoiled_on_the_way_is_removed(site, tmp_path, models):
    spoiled = "vae/diffusion_pytorch_model.safetensors"
    place = tmp_path / "models" if models else None
    site.spoiled.add(spoiled)
    done = download(site, tmp_path, "flux-schnell", models=place)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert spoiled in last
    assert last.endswith("is not the file that the site has, and was removed; run it again")
    site.spoiled.clear()
    assert download(site, tmp_path, "flux-schnell", models=place).returncode == 0


@pytest.mark.parametrize(("model", "more", "said"), [
    ("flux-dev", {}, f"{DEV} asks for its licence to be accepted: do so at https://huggingface.co/"
     f"{DEV}, then log in with `hf auth login`"),
    ("flux-dev", {"HF_TOKEN": "hf_x"}, f"{DEV}: your account has not accepted its licence, or was "
     f"not let in yet: see https://huggingface.co/{DEV}"),
    ("flux-krea", {}, "black-forest-labs/FLUX.1-Krea-dev is not found, or your token is not valid"),
    ("flux-schnell", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids the network"),
    ("flux-schnell", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be had from Hugging Face: "),
    ("flux-mini", {}, "model: flux-mini ships with this package: there is nothing to download"),
    ("flux-devv", {}, "did you mean 'flux-dev'?"),
])  # fmt: skip
def test_what_stands_in_the_way_is_one_line(model, more, said, site, tmp_path):
    done = download(site, tmp_path, model, **more)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_file_in_the_folder_s_place(tmp_path):
    (tmp_path / "flux-schnell").write_text("not a folder")
    with pytest.raises(Exception, match="is a file; the model needs a folder of that name"):
        plan_download(find("flux-schnell"), tmp_path)
    with pytest.raises(RequestError, match="is drawn at random"):
        plan_download(find("tiny"), tmp_path)


def test_torch_is_not_needed():
    code = "import sys, flux1.weights.download; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
