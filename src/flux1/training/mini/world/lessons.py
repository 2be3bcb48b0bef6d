"""The answers that the sentence encoder learns to give about a scene: place, colour, number and
part in a relation."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from flux1.training.mini.world.captions import caption, plural_of
from flux1.training.mini.world.colours import RGB
from flux1.training.mini.world.drawings import Drawings
from flux1.training.mini.world.sample import Sampler
from flux1.training.mini.world.scenes import LAYERS, Mixture, Scene
from flux1.training.mini.worlds import Caption

# x and y of the place, whether the thing has a colour of its own, its r, g and b; then one number
# each for two, three, four and five copies; then one for each layered relation, 1 for the thing
# that comes first in it and -1 for the others.
_PLACE_AND_COLOUR, _NUMBER = 6, 4
_SIDES: dict[str | None, tuple[tuple[float, float], ...]] = {
    "left": ((-1, 0), (1, 0)),
    "right": ((1, 0), (-1, 0)),
    "above": ((0, -1), (0, 1)),
    "below": ((0, 1), (0, -1)),
    "between": ((0, 0), (-1, 0), (1, 0)),
}
_ROW = ((-1.0, 0.0), (0.0, 0.0), (1.0, 0.0))
_MIXTURE = Mixture(
    empty=0.0, single=0.12, coloured=0.18, pair=0.2, painted=0.13, count=0.15, triple=0.08,
    layered=0.14, motif=0.0,
)  # fmt: skip
_PAIRS = Mixture(
    empty=0.0, single=0.0, coloured=0.0, pair=0.5, painted=0.5, count=0.0, triple=0.0, layered=0.0,
    motif=0.0,
)  # fmt: skip
# Scenes are sampled at this size alone: their words do not depend on pixels, and a small place is
# painted sooner.
_SIZE = (48, 48)


@dataclass(frozen=True)
class SceneLessons:
    """The lessons of `SceneWorld`."""

    drawings: Drawings
    parts: tuple[int, ...] = (_PLACE_AND_COLOUR, _NUMBER, len(LAYERS))

    def scene(self, rng: np.random.Generator) -> Scene:
        return Sampler(self.drawings, _MIXTURE, *_SIZE).scene(rng)

    def pair(self, rng: np.random.Generator) -> Scene:
        return Sampler(self.drawings, _PAIRS, *_SIZE).scene(rng)

    def caption(self, scene: Scene, rng: np.random.Generator) -> Caption:
        return caption(scene, rng)

    def renamed(self, scene: Scene, name: Callable[[], str]) -> Scene:
        """Other names for the nouns; copies of one noun keep one name."""
        names = {noun: name() for noun in sorted({thing.noun for thing in scene.things})}
        things = tuple(replace(thing, noun=names[thing.noun]) for thing in scene.things)
        return replace(scene, things=things)

    def first_names(self, said: Caption, scene: Scene) -> Caption:
        """The caption with every thing called as in the list of nouns: "cat" for "kitten"."""
        copies = is_count(scene)
        places = {number: span for number, span in enumerate(said.spans) if span is not None}
        words, behind = "", 0
        spans: list[tuple[int, int] | None] = [None] * len(said.spans)
        for number, (start, end) in sorted(places.items(), key=lambda item: item[1]):
            noun = scene.things[number].noun
            name = plural_of(noun, noun) if copies else noun
            words += said.words[behind:start]
            spans[number] = len(words), len(words) + len(name)
            words += name
            behind = end
        return Caption(words + said.words[behind:], tuple(spans))

    def codes(self, scene: Scene) -> Float[np.ndarray, "things code"]:
        rows = np.zeros((len(scene.things), sum(self.parts)), np.float32)
        for row, thing in zip(rows, scene.things, strict=True):
            if thing.colour is not None:
                row[2:_PLACE_AND_COLOUR] = (1, *(c / 127.5 - 1 for c in RGB[thing.colour]))
        if is_count(scene):
            rows[:, _PLACE_AND_COLOUR + len(scene.things) - 2] = 1
        elif scene.relation in _SIDES:
            rows[:, :2] = _SIDES[scene.relation]
        elif scene.relation is None and len(scene.things) == len(_ROW):
            rows[:, :2] = _ROW
        if scene.relation in LAYERS:
            part = _PLACE_AND_COLOUR + _NUMBER + LAYERS.index(scene.relation)
            rows[:, part] = -1
            rows[0, part] = 1
        return rows


def is_count(scene: Scene) -> bool:
    """Return whether the scene shows several of one noun."""
    several = len(scene.things) > 1 and scene.relation is None and not scene.motif
    return several and len({thing.noun for thing in scene.things}) == 1
