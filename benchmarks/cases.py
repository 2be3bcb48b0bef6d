"""What adherence is asked: prompts with the truth that a picture of them must show.

Truths come from the training distribution under another seed, or are held out of it; half of the
wordings are plain (training has them) and half are these files' own (training has none of them).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from compositions import sampled
from flux1.training.scenes import NUMBERS, RELATIONS, Scene, Thing
from flux1.training.vocabulary import (
    COLOUR_NAMES,
    HELD_OUT_COLOURS,
    HELD_OUT_STYLES,
    NOUNS,
    plural,
    with_article,
)
from judge import OPPOSITE
from measures import COMPACT

CASES_SEED = 90_210
FIRST_PICTURE_SEED = 50_000
Wording = Literal["plain", "own"]


@dataclass(frozen=True)
class Case:
    """One prompt, the seed of its picture, and the truth. `held_out`: training never showed it."""

    name: str  # of the set it belongs to
    prompt: str
    wording: Wording
    scene: Scene
    seed: int
    held_out: bool = False


# In each: {a} the object with its article, {bg} the background's colour, {a_bg} with article.
_SINGLE = {
    "plain": ("{a} on {a_bg} background",),
    "own": (
        "a small icon showing {a}, {bg} backdrop",
        "{bg} wallpaper with {a} in the middle",
        "please draw {a}; the background should be {bg}",
        "{a} set on plain {bg}",
        "just {a} and nothing else, solid {bg} behind it",
    ),
}
_PAIR = {
    "plain": ("{a} {relation} {b} on {a_bg} background",),
    "own": (
        "{here} {a} and {there} {b}, {bg} backdrop",
        "{a} {here}, {b} {there}, plain {bg} behind them",
        "{bg} wallpaper with {a} {here} and {b} {there}",
    ),
}
_COLOUR = {
    "plain": ("{a} on {a_bg} background",),
    "own": (
        "{bare} coloured {colour} all over, {bg} backdrop",
        "{bare} that is completely {colour}, set on plain {bg}",
        "{bg} wallpaper with {bare} painted {colour}",
    ),
}
_COUNT = {
    "plain": ("{number} {many} on {a_bg} background",),
    "own": (
        "a group of {number} {many}, {bg} backdrop",
        "exactly {number} {many}, set on plain {bg}",
        "{bg} wallpaper with {digit} {many}",
    ),
}
_STYLE = {
    "plain": ("{a}, flat style on {a_bg} background",),
    "own": (
        "flat design of {a}, {bg} backdrop",
        "{a} as a flat illustration, set on plain {bg}",
        "a flat drawing that shows {a}, solid {bg} behind it",
    ),
}
_RELATIONS = {
    "left": "to the left of",
    "right": "to the right of",
    "above": "above",
    "below": "below",
}
_PLACES = {
    "left": "on the left side",
    "right": "on the right side",
    "above": "in the upper half",
    "below": "in the lower half",
}


def _named(thing: Thing) -> str:
    words = thing.noun if thing.colour is None else f"{thing.colour} {thing.noun}"
    return with_article(words, thing.noun)


def _words(scene: Scene) -> dict[str, str]:
    """What the wordings' fields become for a scene."""
    first, last = scene.things[0], scene.things[-1]
    count = len(scene.things)
    words = {
        "a": _named(first),
        "bare": with_article(first.noun, first.noun),
        "colour": first.colour or "",
        "b": _named(last),
        "bg": scene.background,
        "a_bg": with_article(scene.background, scene.background),
        "number": NUMBERS[count],
        "digit": str(count),
        "many": plural(first.noun),
    }
    if scene.relation is not None:
        words["relation"] = _RELATIONS[scene.relation]
        words["here"], words["there"] = _PLACES[scene.relation], _PLACES[OPPOSITE[scene.relation]]
    return words


def _posed(
    name: str,
    wordings: dict[str, tuple[str, ...]],
    scenes: Sequence[tuple[Scene, bool]],
    rng: np.random.Generator,
) -> list[Case]:
    """Scenes (and whether each is held out) to prompts, plain and own wordings in turn."""
    cases = []
    for i, (scene, held_out) in enumerate(scenes):
        wording: Wording = ("plain", "own")[i % 2]
        templates = wordings[wording]
        prompt = templates[rng.integers(len(templates))].format(**_words(scene))
        cases.append(Case(name, prompt, wording, scene, FIRST_PICTURE_SEED + i, held_out))
    return cases


def _as_drawn(scene: Scene) -> bool:
    return scene.style == "glossy" and all(thing.colour is None for thing in scene.things)


def _one(scene: Scene) -> bool:
    return len(scene.things) == 1 and _as_drawn(scene)


def _with_noun(scene: Scene, noun: str, colour: str | None = None) -> Scene:
    """The same scene of another noun."""
    things = tuple(replace(thing, noun=noun, colour=colour) for thing in scene.things)
    return replace(scene, things=things)


def _picked(names: Sequence[str], count: int, rng: np.random.Generator) -> Iterator[str]:
    """`count` different names in random order."""
    return (names[i] for i in rng.permutation(len(names))[:count])


def single() -> list[Case]:
    """200 different nouns, each alone on a coloured background."""
    rng = np.random.default_rng([CASES_SEED, 0])
    scenes = [(_with_noun(sampled(rng, _one), noun), False) for noun in _picked(NOUNS, 200, rng)]
    return _posed("single", _SINGLE, scenes, rng)


def pair() -> list[Case]:
    """100 times two different nouns and where the first stands, 25 of each relation."""
    rng = np.random.default_rng([CASES_SEED, 1])

    def wanted(relation: str, scene: Scene) -> bool:
        different = scene.things[0].noun != scene.things[-1].noun
        return scene.relation == relation and different and _as_drawn(scene)

    scenes = [
        (sampled(rng, lambda scene, r=relation: wanted(r, scene)), False)
        for _ in range(25)
        for relation in RELATIONS
    ]
    order = rng.permutation(len(scenes))
    return _posed("pair", _PAIR, [scenes[i] for i in order], rng)


def colour() -> list[Case]:
    """60 recoloured objects: the 30 pairs held out of training, and 30 that are not."""
    rng = np.random.default_rng([CASES_SEED, 2])
    held_out = sorted(HELD_OUT_COLOURS)
    nouns = sorted({noun for noun, _ in held_out})
    shown = [
        (noun, colour)
        for noun in nouns
        for colour in _picked(COLOUR_NAMES, 2, rng)
        if (noun, colour) not in HELD_OUT_COLOURS
    ]
    seen = [shown[i] for i in rng.permutation(len(shown))[:30]]

    def scene_of(noun: str, colour: str) -> Scene:
        free = sampled(rng, lambda scene: _one(scene) and scene.background != colour)
        return _with_noun(free, noun, colour)

    scenes = [(scene_of(*p), True) for p in held_out] + [(scene_of(*p), False) for p in seen]
    return _posed("colour", _COLOUR, scenes, rng)


def count() -> list[Case]:
    """60 times 2 to 5 copies of a compact noun on a background that it stands out from."""
    rng = np.random.default_rng([CASES_SEED, 3])

    def wanted(copies: int, scene: Scene) -> bool:
        return scene.relation is None and len(scene.things) == copies and _as_drawn(scene)

    scenes = []
    for i in range(60):
        scene = sampled(rng, lambda s, n=2 + i // 2 % 4: wanted(n, s))
        scenes.append((_with_noun(scene, COMPACT[rng.integers(len(COMPACT))]), False))
    return _posed("count", _COUNT, scenes, rng)


def style() -> list[Case]:
    """Flat drawings: the 16 nouns never shown flat in training, twice, and 32 that were."""
    rng = np.random.default_rng([CASES_SEED, 4])
    held_out = [noun for noun, _ in sorted(HELD_OUT_STYLES) for _ in range(2)]
    seen = list(_picked([noun for noun in NOUNS if noun not in held_out], 32, rng))
    scenes = [
        (replace(_with_noun(sampled(rng, _one), noun), style="flat"), noun in held_out)
        for noun in held_out + seen
    ]
    return _posed("style", _STYLE, scenes, rng)


SETS = {"single": single, "pair": pair, "colour": colour, "count": count, "style": style}
