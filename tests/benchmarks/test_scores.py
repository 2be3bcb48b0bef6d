"""The arithmetic of scores, on records written by hand."""

import math

import pytest

from adherence.cases import Case
from adherence.reading import Reading
from adherence.scores import (
    CATEGORIES,
    PUBLISHED,
    PUBLISHED_OVERALL,
    Tally,
    overall,
    rows,
    shares,
)
from flux1.training.mini.scenes import Scene


def _record(name: str, right: bool, wording: str = "plain", held_out: bool = False):
    case = Case(name, "", wording, Scene((), "white", "glossy"), 0, held_out)
    return case, Reading(right, {"half of it": not right}, {})


def test_overall_weighs_the_six_alike_whatever_their_sizes():
    tallies = {name: Tally(i, 6 * (i + 1)) for i, name in enumerate(CATEGORIES)}
    expected = sum(i / (6 * (i + 1)) for i in range(6)) / 6
    score = overall(tallies | {"style": Tally(0, 9), "free": Tally(9, 9)})
    assert score.share == pytest.approx(expected)


def test_the_error_of_overall_is_that_of_one_category_over_the_root_of_six():
    score = overall(dict.fromkeys(CATEGORIES, Tally(20, 100)))
    assert score.share == pytest.approx(0.2)
    assert score.error == pytest.approx(1.96 * math.sqrt(0.2 * 0.8 / 100 / 6))


def test_there_is_no_overall_of_five():
    assert overall(dict.fromkeys(CATEGORIES[1:], Tally(1, 1))) is None


def test_published_figures_are_consistent():
    assert sum(PUBLISHED.values()) / 6 == pytest.approx(PUBLISHED_OVERALL, abs=0.01)


def test_wilsons_interval():
    low, high = Tally(5, 10).interval
    assert (low, high) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert Tally(0, 10).interval == (0.0, pytest.approx(1.96**2 / (10 + 1.96**2)))


def test_groups_are_counted_apart():
    reads = [
        _record("colours", True), _record("colours", False, held_out=True),
        _record("colours", True, "own", held_out=True), _record("style", False, "own"),
    ]  # fmt: skip
    colours, part, style, _ = rows(reads)
    assert (colours.name, colours.measure, style.name) == ("colours", "right", "style")
    assert colours.groups == {
        "all": Tally(2, 3), "plain words": Tally(1, 2), "own words": Tally(1, 1),
        "held out": Tally(1, 2), "seen": Tally(1, 1),
    }  # fmt: skip
    assert part.groups["all"] == Tally(1, 3)
    assert shares(reads, "plain words") == {"colours": Tally(1, 2)}
    assert style.plain()["own words"] == {
        "right": 0, "total": 1, "interval": [0.0, round(1.96**2 / (1 + 1.96**2), 4)],
    }  # fmt: skip
