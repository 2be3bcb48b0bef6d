"""What is asked: prompts with the truth that a picture of them must show.

Truths come from the training distribution under another seed, or are held out of it; half of the
wordings are plain (training has them) and half are these files' own (training has none of them).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

import numpy as np

from adherence.free import FREE, Free
from adherence.measures import COMPACT
from adherence.parts import OPPOSITE
from flux1.training.mini.scenes import NUMBERS, RELATIONS, Mixture, Scene, Thing, sample_scene
from flux1.training.mini.vocabulary import (
    COLOUR_NAMES,
    HELD_OUT_COLOURS,
    HELD_OUT_STYLES,
    NOUNS,
    plural,
    with_article,
)

CASES_SEED = 90_210
FIRST_PICTURE_SEED = 50_000
Wording = Literal["plain", "own", "free"]
Truth = tuple[Scene, bool]  # and whether it is held out of training


@dataclass(frozen=True)
class Case:
    """One prompt, the seed of its picture, and the truth. `held_out`: training never showed it.

    Two different things whose scene has no `relation` may stand anywhere.
    """

    name: str  # of the set it belongs to
    prompt: str
    wording: Wording
    scene: Scene
    seed: int
    held_out: bool = False


# In each: {a} and {b} the objects with articles, {bare} and {bare_b} the same without their
# colours, {bg} the background's colour, {a_bg} that with its article.
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
_TWO = {
    "plain": (
        "{a} and {b} on {a_bg} background",
        "{a} next to {b} on {a_bg} background",
        "{a} beside {b} on {a_bg} background",
    ),
    "own": (
        "{bg} wallpaper with both {a} and {b}",
        "{a} together with {b}, {bg} backdrop",
        "please draw {a} and also {b}; the background should be {bg}",
    ),
}
_COUNTING = {
    "plain": ("{number} {many} on {a_bg} background",),
    "own": (
        "a group of {number} {many}, {bg} backdrop",
        "exactly {number} {many}, set on plain {bg}",
        "{bg} wallpaper with {digit} {many}",
    ),
}
_COLOURS = {
    "plain": ("{a} on {a_bg} background",),
    "own": (
        "{bare} coloured {colour} all over, {bg} backdrop",
        "{bare} that is completely {colour}, set on plain {bg}",
        "{bg} wallpaper with {bare} painted {colour}",
    ),
}
_POSITION = {
    "plain": ("{a} {relation} {b} on {a_bg} background",),
    "own": (
        "{here} {a} and {there} {b}, {bg} backdrop",
        "{a} {here}, {b} {there}, plain {bg} behind them",
        "{bg} wallpaper with {a} {here} and {b} {there}",
    ),
}
_ATTRIBUTION = {
    "plain": _TWO["plain"],
    "own": (
        "{bg} wallpaper with both {a} and {b}",
        "{bare} coloured {colour} together with {bare_b} coloured {colour_b}, {bg} backdrop",
        "{bare} painted {colour} and {bare_b} painted {colour_b}, set on plain {bg}",
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
        "bare_b": with_article(last.noun, last.noun),
        "colour_b": last.colour or "",
        "bg": scene.background,
        "a_bg": with_article(scene.background, scene.background),
        "number": NUMBERS[count],
        "digit": str(count),
        "many": first.noun if count == 1 else plural(first.noun),
    }
    if scene.relation is not None:
        words["relation"] = _RELATIONS[scene.relation]
        words["here"], words["there"] = _PLACES[scene.relation], _PLACES[OPPOSITE[scene.relation]]
    return words


def _posed(
    name: str,
    wordings: Mapping[str, tuple[str, ...]],
    truths: Sequence[Truth],
    rng: np.random.Generator,
) -> list[Case]:
    """Truths to prompts, plain and own wordings in turn; then in random order, so that the first
    so many are a fair sample."""
    cases = []
    for i, (scene, held_out) in enumerate(truths):
        wording: Wording = ("plain", "own")[i % 2]
        templates = wordings[wording]
        prompt = templates[rng.integers(len(templates))].format(**_words(scene))
        cases.append(Case(name, prompt, wording, scene, 0, held_out))
    shuffled = (cases[i] for i in rng.permutation(len(cases)))
    return [replace(case, seed=FIRST_PICTURE_SEED + i) for i, case in enumerate(shuffled)]


def _only(kind: str) -> Mixture:
    """Training's scenes of one kind."""
    return Mixture(**{share.name: float(share.name == kind) for share in fields(Mixture)})


def _sampled(
    kind: str, rng: np.random.Generator, wanted: Callable[[Scene], bool] = lambda scene: True
) -> Scene:
    """A scene of flux-mini's training distribution, in the style of captions without one."""
    mixture = _only(kind)
    while (scene := sample_scene(rng, mixture)).style != "glossy" or not wanted(scene):
        pass
    return scene


def _uncoloured(scene: Scene) -> bool:
    return all(thing.colour is None for thing in scene.things)


def _different(scene: Scene) -> bool:
    return scene.things[0].noun != scene.things[-1].noun


def _of(scene: Scene, noun: str, colour: str | None = None) -> Scene:
    """The same scene of another noun."""
    things = tuple(replace(thing, noun=noun, colour=colour) for thing in scene.things)
    return replace(scene, things=things)


def _picked(names: Sequence[str], count: int, rng: np.random.Generator) -> Iterator[str]:
    """`count` different names in random order."""
    return (names[i] for i in rng.permutation(len(names))[:count])


def _single_object(rng: np.random.Generator) -> list[Case]:
    """200 different nouns, each alone on a coloured background."""
    truths = [(_of(_sampled("single", rng), noun), False) for noun in _picked(NOUNS, 200, rng)]
    return _posed("single_object", _SINGLE, truths, rng)


def _two_objects(rng: np.random.Generator) -> list[Case]:
    """100 times two different nouns, wherever they stand."""
    pairs = (
        _sampled("pair", rng, lambda scene: _different(scene) and _uncoloured(scene))
        for _ in range(100)
    )
    truths = [(replace(scene, relation=None), False) for scene in pairs]
    return _posed("two_objects", _TWO, truths, rng)


def _counting(rng: np.random.Generator) -> list[Case]:
    """100 times 1 to 5 copies of a compact noun."""

    def scene_of(copies: int) -> Scene:
        if copies == 1:
            return _sampled("single", rng)
        return _sampled("count", rng, lambda scene: len(scene.things) == copies)

    truths = [
        (_of(scene_of(1 + i // 2 % 5), COMPACT[rng.integers(len(COMPACT))]), False)
        for i in range(100)
    ]
    return _posed("counting", _COUNTING, truths, rng)


def _colours(rng: np.random.Generator) -> list[Case]:
    """100 recoloured objects: the 30 pairs held out of training in both wordings, and 40 pairs of
    the same nouns that are not held out."""
    held_out = sorted(HELD_OUT_COLOURS)
    nouns = sorted({noun for noun, _ in held_out})
    shown = [
        (noun, colour)
        for noun in nouns
        for colour in _picked(COLOUR_NAMES, 2, rng)
        if (noun, colour) not in HELD_OUT_COLOURS
    ]
    seen = [shown[i] for i in rng.permutation(len(shown))[:40]]

    def scene_of(noun: str, colour: str) -> Scene:
        free = _sampled("single", rng, lambda scene: scene.background != colour)
        return _of(free, noun, colour)

    truths = [(scene_of(*pair), True) for pair in held_out for _ in range(2)]
    truths += [(scene_of(*pair), False) for pair in seen]
    return _posed("colours", _COLOURS, truths, rng)


def _position(rng: np.random.Generator) -> list[Case]:
    """100 times two different nouns and where the first stands, 25 of each relation."""

    def scene_of(relation: str) -> Scene:
        return _sampled(
            "pair", rng, lambda s: s.relation == relation and _different(s) and _uncoloured(s)
        )

    truths = [(scene_of(relation), False) for relation in RELATIONS for _ in range(25)]
    return _posed("position", _POSITION, truths, rng)


def _colour_attribution(rng: np.random.Generator) -> list[Case]:
    """100 times two different nouns in two different colours, wherever they stand."""

    def wanted(scene: Scene) -> bool:
        first, second = scene.things
        return _different(scene) and first.colour != second.colour

    scenes = (_sampled("painted", rng, wanted) for _ in range(100))
    truths = [(replace(scene, relation=None), False) for scene in scenes]
    return _posed("colour_attribution", _ATTRIBUTION, truths, rng)


def _style(rng: np.random.Generator) -> list[Case]:
    """Flat drawings: the 16 nouns never shown flat in both wordings, and 32 that were."""
    held_out = [noun for noun, _ in sorted(HELD_OUT_STYLES) for _ in range(2)]
    seen = list(_picked([noun for noun in NOUNS if noun not in held_out], 32, rng))
    truths = [
        (replace(_of(_sampled("single", rng), noun), style="flat"), noun in held_out)
        for noun in held_out + seen
    ]
    return _posed("style", _STYLE, truths, rng)


def _free(rng: np.random.Generator) -> list[Case]:
    """100 prompts in a person's words. A background that is not named is white."""

    def scene_of(asked: Free) -> Scene:
        if asked.second is None:
            thing = replace(_sampled("single", rng).things[0], noun=asked.noun, colour=asked.colour)
            return Scene((thing,), asked.background, "glossy")
        relation = asked.relation
        first, second = _sampled("pair", rng, lambda s: relation in (None, s.relation)).things
        first = replace(first, noun=asked.noun, colour=asked.colour)
        second = replace(second, noun=asked.second, colour=asked.second_colour)
        return Scene((first, second), asked.background, "glossy", relation)

    cases = [
        Case("free", asked.prompt, "free", scene_of(asked), FIRST_PICTURE_SEED + i)
        for i, asked in enumerate(FREE)
    ]
    return [cases[i] for i in rng.permutation(len(cases))]


SETS: dict[str, Callable[[np.random.Generator], list[Case]]] = {
    "single_object": _single_object,
    "two_objects": _two_objects,
    "counting": _counting,
    "colours": _colours,
    "position": _position,
    "colour_attribution": _colour_attribution,
    "style": _style,
    "free": _free,
}


def cases_of(name: str, limit: int | None = None, seed: int = CASES_SEED) -> list[Case]:
    """A set's prompts, or the first so many; another `seed` asks for other truths."""
    rng = np.random.default_rng([seed, list(SETS).index(name)])
    return SETS[name](rng)[:limit]


def fingerprint(cases: Sequence[Case]) -> str:
    """Equal for equal prompts, seeds and truths: runs that share it can be compared."""
    return hashlib.sha256(json.dumps([asdict(case) for case in cases]).encode()).hexdigest()[:12]
