"""The ladder as a command: several models, one table, files that agree with each other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import ladder
from adherence.painters import Model, facts
from adherence.scores import CATEGORIES
from flux1.errors import RequestError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ladder.py"


def _written(folder: Path, ending: str) -> str:
    (file,) = folder.glob(f"*{ending}")
    return file.read_text()


@pytest.mark.slow
def test_two_models_on_two_processes(tmp_path: Path):
    done = subprocess.run(
        [
            sys.executable, SCRIPT, "--processes", "2", "--limit", "1", "--size", "32x32",
            "--model", "tiny:steps=2", "--model", "tiny:label=guided:true_cfg=2:guidance=1",
            "--out", tmp_path,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "FLUX.1 [dev], as published" in _written(tmp_path, ".md")
    measured = json.loads(_written(tmp_path, ".json"))
    first, second = measured["models"]
    assert (first["label"], first["calls"], second["calls"]) == ("tiny", "2", "2 x 4")
    records = [json.loads(line) for line in _written(tmp_path, ".jsonl").splitlines()]
    assert [record["name"] for record in records][: len(CATEGORIES)] == list(CATEGORIES)
    for one in (first, second):
        assert one["seconds"] > 0
        right = {
            row["set"]: row["all"]["right"] for row in one["rows"] if row["measure"] == "right"
        }
        read = {record["name"]: record["read"][one["label"]]["right"] for record in records}
        assert right == read
        assert one["overall"]["share"] == sum(right[name] for name in CATEGORIES) / 6
    with Image.open(next(tmp_path.glob("*.png"))) as sheet:
        assert sheet.size == (3 * 128, 40 + 8 * 128)  # words and two models; eight sets


def test_guidances_of_a_student_beside_its_teacher(tmp_path: Path):
    models = ["tiny:label=teacher:guidance=1:steps=2", "tiny:steps=2"]
    ladder.main(models, guidances="1,3.5", limit=1, size="32x32", out=tmp_path)
    same, apart = json.loads(_written(tmp_path, ".json"))["points"]
    assert same["velocity_error"]["error"] == 0  # both are told 1
    assert apart["velocity_error"]["error"] > 0
    assert (same["guidance"], apart["guidance"]) == (1, 3.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": ["tiny", "tiny"]}, "model: two are called 'tiny'; add :label=NAME to one"),
        ({"sets": "colors"}, "did you mean 'colours'?"),
        ({"size": "128"}, "size: '128' is not WIDTHxHEIGHT"),
        ({"guidances": "1"}, "model: guidances need a teacher and then its students"),
        ({"model": ["tiny", "tiny:label=b"], "guidances": "x"}, "guidances: 'x' are not numbers"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(arguments: dict, said: str, tmp_path: Path):
    with pytest.raises(SystemExit) as refused:
        ladder.main(**{"model": ["tiny"], "out": tmp_path, **arguments})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_model_says_how_it_is_asked():
    one = Model.parse("a/folder/model:label=x y:steps=4:guidance=2.5:solver=heun", (64, 32))
    assert one == Model("x y", "a/folder/model", (64, 32), 4, 2.5, None, "heun")
    assert Model.parse("a/folder/model", (64, 64)).label == "model"
    assert facts(Model.parse("tiny:steps=3:solver=heun:true_cfg=2", (32, 32)))["calls"] == "2 x 6"
    with pytest.raises(RequestError, match="did you mean 'steps'"):
        Model.parse("tiny:step=4", (64, 64))
    with pytest.raises(RequestError, match="'four' is no value of steps"):
        Model.parse("tiny:steps=four", (64, 64))
