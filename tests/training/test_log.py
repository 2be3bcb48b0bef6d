"""Where figures go: read back with the programs' own readers."""

import json

import pytest
from PIL import Image

from flux1.errors import DataError, DependencyError
from flux1.training import log
from flux1.training.log import JsonLines, check_loggers, open_loggers
from shell import python


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_rows_are_lines_of_json_and_what_is_not_finite_is_left_out(tmp_path):
    logger = JsonLines(tmp_path, 0)
    logger.figures(10, {"loss": 0.123456789, "norm": float("nan")})
    logger.figures(20, {"loss": 2.0})
    logger.close()
    assert rows(tmp_path) == [{"step": 10, "loss": 0.1234568}, {"step": 20, "loss": 2.0}]


def test_steps_that_come_again_are_told_once(tmp_path):
    first = JsonLines(tmp_path, 0)
    for step in (1, 2, 3, 4):
        first.figures(step, {"loss": float(step)})
    first.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # the process died here
    second = JsonLines(tmp_path, 2)
    second.figures(3, {"loss": 3.0})
    second.close()
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


def test_tensorboard_reads_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for logger in open_loggers(["tensorboard"], tmp_path, 0, {}):
        logger.figures(10, {"loss": 0.5})
        logger.figures(20, {"loss": 0.25})
        logger.picture(20, Image.new("RGB", (8, 4), "red"))
        logger.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(10, 0.5), (20, 0.25)]
    (picture,) = read.Images("preview")
    assert (picture.width, picture.height, picture.step) == (8, 4, 20)


def test_a_logger_is_not_imported_unless_it_is_asked_for(tmp_path):
    code = "import sys, flux1.training.loop; print({'tensorboard', 'wandb'} & set(sys.modules))"
    assert python(code).stdout.strip() == "set()"


def test_a_logger_that_is_not_there_is_one_line(monkeypatch):
    with pytest.raises(DataError, match=r"'tensorbord' is not .*did you mean 'tensorboard'"):
        check_loggers(["tensorbord"])
    monkeypatch.setattr(log, "LOGGERS", ("not_installed_anywhere",))
    with pytest.raises(DependencyError, match=r"'\.\[not_installed_anywhere\]'$"):
        check_loggers(["not_installed_anywhere"])
