"""`flux1 words`, and the line that `flux1 generate` and Python say of words and sizes."""

import json

import pytest

from flux1 import FluxPipeline, make_request
from flux1.cli.main import app
from flux1.errors import MissingWeightsError
from flux1.export.onnx import plan_export
from flux1.runtime.pipeline import OnnxPipeline
from flux1.weights.sources import locate
from shell import flux1
from worded import KNOWN, SAID, UNKNOWN, make_worded


@pytest.fixture(scope="module")
def worded(tmp_path_factory):
    return make_worded(tmp_path_factory.mktemp("worded") / "tiny")


def run(*words):
    app([str(word) for word in words], standalone_mode=False)


def test_the_words_are_listed(capsys):
    run("words")
    shown = capsys.readouterr().out
    for word in ("nouns (261)", "airplane", "zebra", "colours (11)", "purple", "styles (2)"):
        assert word in shown
    assert "places" not in shown


def test_as_json_other_names_and_words_are_there(worded, capsys):
    run("words", worded, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["nouns"][0] == ["fox", "vixen"]
    assert told["places"] == [["snow"]]
    assert "three" in told["other"]
    run("words", "flux-mini-schnell", "--json")
    assert len(json.loads(capsys.readouterr().out)["nouns"]) == 261


def test_a_model_without_a_list_says_so():
    with pytest.raises(MissingWeightsError, match="tiny: no list of words lies with its weights"):
        run("words", "tiny")


def test_generate_says_it_in_a_line_and_in_json(worded, tmp_path):
    asked = ("-m", worded, "--steps", 1, "--size", "64x96", "-o", tmp_path / "x.png")
    done = flux1("generate", UNKNOWN, *asked)
    assert done.returncode == 0, done.stderr
    size = "tiny was trained at 64x64, 96x64, not at 64x96"
    assert size in done.stderr.splitlines()
    (line,) = (one for one in done.stderr.splitlines() if one.startswith("words that tiny never"))
    assert all(word in line for word in SAID)
    assert json.loads(flux1("generate", UNKNOWN, *asked, "--json").stdout)["notes"] == [line, size]
    known = flux1("generate", KNOWN, "-m", worded, "--steps", 1, "-o", tmp_path / "x.png")
    assert "never learnt" not in known.stderr
    assert "trained at" not in known.stderr


def test_pictures_carry_their_notes(worded):
    pipe = FluxPipeline.from_pretrained(worded)
    (line,) = pipe(UNKNOWN, steps=1).notes
    assert line.startswith("words that tiny never learnt: zorb")
    assert pipe(KNOWN, steps=1, width=96, height=64).notes == ()


def test_graphs_say_the_same(worded, tmp_path):
    source = locate(worded)
    plan_export(source, tmp_path / "graphs").write()
    onnx, torch = (
        OnnxPipeline.from_folder(tmp_path / "graphs"),
        FluxPipeline.from_pretrained(worded),
    )
    for prompt in (UNKNOWN, KNOWN, "a vixn in the snw, scarlett"):
        request = make_request(source.variant, prompt, width=64, height=32)
        assert onnx.notes(request) == torch.notes(request) != ()
    assert OnnxPipeline.from_folder(tmp_path / "graphs").variant == source.variant
