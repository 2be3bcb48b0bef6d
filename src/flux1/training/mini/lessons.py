"""The answers that the sentence encoder learns to give about scenes of sprites: place, colour
and number."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from flux1.training.mini.scenes import Mixture, Scene, caption, sample_scene
from flux1.training.mini.vocabulary import COLOURS, plural
from flux1.training.mini.worlds import Caption

_MIXTURE = Mixture(single=0.2, coloured=0.2, pair=0.3, count=0.2, painted=0.1)
_PAIRS = Mixture(single=0.0, coloured=0.0, pair=1.0, count=0.0)
# A code: x and y of the place, whether the thing has a colour of its own, its r, g, b, and one
# each for two, three, four and five copies.
_PLACE_AND_COLOUR, _NUMBER = 6, 4
CODE_SIZE = _PLACE_AND_COLOUR + _NUMBER
_PLACES = {
    "left": ((-1, 0), (1, 0)),
    "right": ((1, 0), (-1, 0)),
    "above": ((0, -1), (0, 1)),
    "below": ((0, 1), (0, -1)),
}
_RGB = {colour.name: tuple(c / 127.5 - 1 for c in colour.rgb) for colour in COLOURS}


def codes(scene: Scene) -> Float[np.ndarray, "things 10"]:
    """Return what the encoder is to say of each thing."""
    rows = np.zeros((len(scene.things), CODE_SIZE), np.float32)
    for row, thing in zip(rows, scene.things, strict=True):
        if thing.colour is not None:
            row[2:_PLACE_AND_COLOUR] = (1, *_RGB[thing.colour])
    if scene.relation is not None:
        rows[:, :2] = _PLACES[scene.relation]
    elif len(scene.things) > 1:
        rows[:, _PLACE_AND_COLOUR + len(scene.things) - 2] = 1
    return rows


def in_first_names(said: Caption, scene: Scene) -> Caption:
    """The caption with every thing called as in the list of nouns: "cat" for "kitten"."""
    copies = scene.relation is None and len(scene.things) > 1
    places = {number: span for number, span in enumerate(said.spans) if span is not None}
    words, behind = "", 0
    spans: list[tuple[int, int] | None] = [None] * len(said.spans)
    for number, (start, end) in sorted(places.items(), key=lambda item: item[1]):
        noun = scene.things[number].noun
        name = plural(noun) if copies else noun
        words += said.words[behind:start]
        spans[number] = len(words), len(words) + len(name)
        words += name
        behind = end
    return Caption(words + said.words[behind:], tuple(spans))


class SpriteLessons:
    """The lessons of `SpriteWorld`."""

    parts = (_PLACE_AND_COLOUR, _NUMBER)

    def scene(self, rng: np.random.Generator) -> Scene:
        return sample_scene(rng, _MIXTURE)

    def pair(self, rng: np.random.Generator) -> Scene:
        return sample_scene(rng, _PAIRS)

    def caption(self, scene: Scene, rng: np.random.Generator) -> Caption:
        return caption(scene, rng)

    def renamed(self, scene: Scene, name: Callable[[], str]) -> Scene:
        named = 1 if scene.relation is None else 2
        things = [replace(thing, noun=name()) for thing in scene.things[:named]]
        return replace(scene, things=(*things, *scene.things[named:]))

    def first_names(self, said: Caption, scene: Scene) -> Caption:
        return in_first_names(said, scene)

    def codes(self, scene: Scene) -> Float[np.ndarray, "things 10"]:
        return codes(scene)
