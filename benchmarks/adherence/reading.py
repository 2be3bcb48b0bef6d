"""What a picture shows, and whether it is what was asked: one function for each set.

Nouns and styles are the judge's (judge.py), colours and counts the rulers' (measures.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from adherence.cases import Case
from adherence.judge import Judge, Verdict
from adherence.measures import background_colour, object_colour
from adherence.parts import OPPOSITE, Part, couples, half, patches
from flux1.training.mini.scenes import Scene


@dataclass(frozen=True)
class Reading:
    """`right`: all that the set asks is there. `parts`: what of it is. `seen`: what was read."""

    right: bool
    parts: dict[str, bool]
    seen: dict[str, object]


def read(picture: Image.Image, case: Case, judge: Judge) -> Reading:
    """Read a picture of any size against its prompt's truth."""
    return READERS[case.name](picture, case.scene, judge)


def _seen(verdict: Verdict) -> dict[str, object]:
    return {"noun": verdict.noun, "confidence": verdict.confidence}


def _single_object(picture: Image.Image, scene: Scene, judge: Judge) -> Reading:
    (verdict,), noun = judge([picture]), scene.things[0].noun
    background = background_colour(picture)
    parts = {
        "in the first five": noun in verdict.nouns,
        "background": background == scene.background,
    }
    seen = {**_seen(verdict), "nouns": verdict.nouns, "background": background}
    return Reading(verdict.noun == noun, parts, seen)


def _colours(picture: Image.Image, scene: Scene, judge: Judge) -> Reading:
    (verdict,), thing = judge([picture]), scene.things[0]
    colour = object_colour(picture)
    parts = {"object": verdict.noun == thing.noun, "colour": colour == thing.colour}
    return Reading(all(parts.values()), parts, {**_seen(verdict), "colour": colour})


def _style(picture: Image.Image, scene: Scene, judge: Judge) -> Reading:
    (verdict,) = judge([picture])
    parts = {"object": verdict.noun == scene.things[0].noun, "style": verdict.style == scene.style}
    return Reading(all(parts.values()), parts, {**_seen(verdict), "style": verdict.style})


def _counting(picture: Image.Image, scene: Scene, judge: Judge) -> Reading:
    """As many patches as asked, and each of them is the object."""
    found = [verdict.noun for verdict in judge([part.crop for part in patches(picture)])]
    named, wanted = found.count(scene.things[0].noun), len(scene.things)
    parts = {"number of things": len(found) == wanted, "most are it": named > len(found) / 2}
    return Reading(len(found) == named == wanted, parts, {"nouns": found})


@dataclass(frozen=True)
class _Couple:
    """Two things as found, each with its name and colour, the one asked for first leading."""

    nouns: tuple[str, str]
    colours: tuple[str | None, str | None]

    def matches(self, wanted: tuple[str, str]) -> int:
        """How many of the two are the wanted nouns."""
        return sum(found == want for found, want in zip(self.nouns, wanted, strict=True))


def _found(
    picture: Image.Image, wanted: tuple[str, str], where: Sequence[tuple[Part, Part]], judge: Judge
) -> _Couple:
    """The couple of parts that shows most of the wanted nouns, in this order or the other."""
    nouns = [v.noun for v in judge([part.crop for couple in where for part in couple])]
    candidates = []
    for i, (a, b) in enumerate(where):
        names = nouns[2 * i], nouns[2 * i + 1]
        colours = object_colour(picture, a.box), object_colour(picture, b.box)
        candidates += [_Couple(names, colours), _Couple(names[::-1], colours[::-1])]
    return max(candidates, key=lambda couple: couple.matches(wanted))


def _nouns(scene: Scene) -> tuple[str, str]:
    first, second = scene.things
    return first.noun, second.noun


def _two_objects(picture: Image.Image, scene: Scene, judge: Judge) -> Reading:
    best = _found(picture, _nouns(scene), list(couples(picture)), judge)
    named = best.matches(_nouns(scene))
    return Reading(named == 2, {"at least one": named > 0}, {"nouns": best.nouns})


def _position(picture: Image.Image, scene: Scene, judge: Judge) -> Reading:
    relation = scene.relation
    assert relation is not None  # this set's scenes have one
    here, there = half(picture, relation), half(picture, OPPOSITE[relation])
    nouns = tuple(verdict.noun for verdict in judge([here.crop, there.crop]))
    both = _two_objects(picture, scene, judge)
    parts = {"both objects, any place": both.right, **both.parts}
    return Reading(
        nouns == _nouns(scene), parts, {relation: nouns[0], OPPOSITE[relation]: nouns[1]}
    )


def _colour_attribution(picture: Image.Image, scene: Scene, judge: Judge) -> Reading:
    best = _found(picture, _nouns(scene), list(couples(picture)), judge)
    wanted = tuple(thing.colour for thing in scene.things)
    parts = {
        "both objects": best.matches(_nouns(scene)) == 2,
        "both colours": best.colours == wanted,
        "colours swapped": best.colours[::-1] == wanted,
    }
    right = parts["both objects"] and parts["both colours"]
    return Reading(right, parts, {"nouns": best.nouns, "colours": best.colours})


def _free(picture: Image.Image, scene: Scene, judge: Judge) -> Reading:
    """All that the prompt says of objects, colours and places; `objects`: only the first of it."""
    coloured = any(thing.colour is not None for thing in scene.things)
    if len(scene.things) == 1:
        one = (_colours if coloured else _single_object)(picture, scene, judge)
        return Reading(one.right, {"objects": one.parts.get("object", one.right)}, one.seen)
    two = _two_objects(picture, scene, judge)
    more = [_colour_attribution(picture, scene, judge)] if coloured else []
    more += [_position(picture, scene, judge)] if scene.relation is not None else []
    seen = {key: value for reading in (two, *more) for key, value in reading.seen.items()}
    return Reading(all(r.right for r in (two, *more)), {"objects": two.right}, seen)


READERS: dict[str, Callable[[Image.Image, Scene, Judge], Reading]] = {
    "single_object": _single_object,
    "two_objects": _two_objects,
    "counting": _counting,
    "colours": _colours,
    "position": _position,
    "colour_attribution": _colour_attribution,
    "style": _style,
    "free": _free,
}
