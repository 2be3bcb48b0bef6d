"""What is asked is fixed, true, new in its own wordings, and short enough to be read whole."""

import os
import re
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from adherence.cases import SETS, Case, cases_of, fingerprint
from adherence.free import FREE
from adherence.scores import CATEGORIES
from flux1.training.mini.scenes import Mixture, caption, sample_scene
from flux1.training.mini.vocabulary import (
    COLOUR_NAMES,
    HELD_OUT_COLOURS,
    HELD_OUT_STYLES,
    NOUNS,
    plural,
)
from flux1.variants import FLUX_MINI

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CASES = [case for name in SETS for case in cases_of(name)]
EVENLY = Mixture(single=0.3, coloured=0.2, pair=0.2, count=0.1, painted=0.2)


def _of(name: str) -> list[Case]:
    return [case for case in CASES if case.name == name]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w'-]+", text.lower()))


@pytest.fixture(scope="module")
def trained_words() -> set[str]:
    """Every word of twenty thousand of training's captions."""
    rng = np.random.default_rng(0)
    scenes = (sample_scene(rng, EVENLY) for _ in range(20_000))
    return set().union(*(_words(caption(scene, rng).words) for scene in scenes))


def test_another_process_asks_the_same():
    code = (
        "from adherence.cases import *; "
        "print(fingerprint([case for name in SETS for case in cases_of(name)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(BENCHMARKS)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == fingerprint(CASES)
    assert fingerprint(CASES) != fingerprint(cases_of("style", seed=1))


def test_sizes_of_the_sets():
    sizes = Counter(case.name for case in CASES)
    assert sizes["single_object"] == 200
    assert all(sizes[name] == 100 for name in (*CATEGORIES[1:], "free"))
    assert sizes["style"] == 64
    assert len({asked.prompt for asked in FREE}) == len(FREE) == 100


@pytest.mark.parametrize("name", list(SETS))
def test_a_limit_takes_the_first_and_seeds_differ(name: str):
    assert cases_of(name, 7) == _of(name)[:7]
    assert len({case.seed for case in _of(name)}) == len(_of(name))


@pytest.mark.parametrize("name", [name for name in SETS if name != "free"])
def test_half_of_the_wordings_are_plain(name: str):
    counted = Counter(case.wording for case in _of(name))
    assert counted["plain"] == counted["own"] == len(_of(name)) / 2


def test_truths_have_what_their_set_asks():
    assert len({case.scene.things[0].noun for case in _of("single_object")}) == 200
    assert Counter(len(case.scene.things) for case in _of("counting")) == dict.fromkeys(
        range(1, 6), 20
    )
    relations = Counter(case.scene.relation for case in _of("position"))
    assert relations == dict.fromkeys(("left", "right", "above", "below"), 25)
    for name in ("two_objects", "position", "colour_attribution"):
        for first, second in (case.scene.things for case in _of(name)):
            assert first.noun != second.noun
    for case in _of("two_objects") + _of("colour_attribution"):
        assert case.scene.relation is None  # any place will do
    for first, second in (case.scene.things for case in _of("colour_attribution")):
        assert None not in (first.colour, second.colour)
        assert first.colour != second.colour
    assert {case.scene.style for case in _of("style")} == {"flat"}
    for case in CASES:
        for thing in case.scene.things:
            assert thing.noun in NOUNS
            assert thing.colour in (None, *COLOUR_NAMES)
            assert thing.colour != case.scene.background


def test_held_out_pairs_are_those_that_training_never_shows():
    for case in CASES:
        pairs = {(thing.noun, thing.colour) for thing in case.scene.things}
        styles = {(thing.noun, case.scene.style) for thing in case.scene.things}
        assert case.held_out == bool(pairs & HELD_OUT_COLOURS or styles & HELD_OUT_STYLES), case
    for name, held_out in (("colours", HELD_OUT_COLOURS), ("style", HELD_OUT_STYLES)):
        asked = [case.scene.things[0] for case in _of(name) if case.held_out]
        assert Counter(one.noun for one in asked) == dict.fromkeys((n for n, _ in held_out), 2)
    rng = np.random.default_rng(1)
    for scene in (sample_scene(rng, EVENLY) for _ in range(5000)):
        assert not {(thing.noun, thing.colour) for thing in scene.things} & HELD_OUT_COLOURS
        assert not {(thing.noun, scene.style) for thing in scene.things} & HELD_OUT_STYLES


def test_prompts_say_the_truth():
    for case in CASES:
        if case.wording == "free":
            continue
        first, *_, last = case.scene.things * 2
        nouns = [first.noun, last.noun]
        if case.name == "counting" and len(case.scene.things) > 1:
            nouns = [plural(first.noun)]
        colours = [thing.colour for thing in case.scene.things if thing.colour]
        for said in (*nouns, *colours, case.scene.background):
            assert re.search(rf"\b{re.escape(said)}\b", case.prompt), (said, case)


def test_own_wordings_are_none_of_trainings_and_free_ones_hardly(trained_words: set[str]):
    for case in CASES:
        new = _words(case.prompt) - trained_words
        if case.wording == "plain":
            assert not new, case
        elif case.wording == "own":
            assert new, case
    free = [case for case in CASES if case.wording == "free"]
    assert sum(not _words(case.prompt) - trained_words for case in free) <= 15


def test_the_text_encoder_reads_every_prompt_whole():
    shipped = resources.files("flux1") / "shipped" / "flux-mini" / "tokenizer.json"
    tokenizer = Tokenizer.from_str(shipped.read_text())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for case in CASES:
        assert len(tokenizer.encode(case.prompt).ids) <= FLUX_MINI.text.max_tokens, case
