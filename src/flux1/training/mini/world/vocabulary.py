"""The words of the world, as they lie beside its weights: what can be drawn, and what else its
captions say."""

import numpy as np

from flux1.training.mini.vocabulary import COLOUR_SYNONYMS
from flux1.training.mini.words import FUNCTION_WORDS
from flux1.training.mini.world import captions
from flux1.training.mini.world.colours import RGB
from flux1.training.mini.world.nouns import Noun, nouns
from flux1.training.mini.world.places import BACKGROUND_COLOURS, LIGHTS, PLACES, WEATHERS
from flux1.training.mini.world.scenes import LAYERS, SIDES, Scene, Thing
from flux1.training.mini.world.settings import sample_setting
from flux1.training.mini.world.styles import STYLES
from flux1.words import Names, Vocabulary, key_of

_CAPTIONS = 4000  # as many show every frame many times over


def scene_words() -> Vocabulary:
    """The words that training says. What stands around the names is gathered from captions, so it
    follows from the frames, whatever they are."""
    colours = dict.fromkeys([*RGB, *BACKGROUND_COLOURS])
    named = Vocabulary(
        nouns=tuple(_names(noun) for noun in nouns().values()),
        places=_rows({row.name: (*row.nouns, *row.phrases) for row in PLACES.values()}),
        lights=_rows({row.name: row.nouns for row in LIGHTS.values()}),
        weather=_rows({row.name: row.nouns for row in WEATHERS.values()}),
        styles=_rows({row.name: row.words for row in STYLES.values()}),
        colours=_rows({name: COLOUR_SYNONYMS.get(name, ()) for name in colours}),
    )
    other = set(FUNCTION_WORDS.split())
    rng = np.random.default_rng(0)
    for _ in range(_CAPTIONS):
        said = captions.caption(_any_scene(rng), rng).words
        for word in named.unknown(said):
            other.update(map(key_of, word.split("-")))
    return Vocabulary(
        named.nouns,
        named.places,
        named.lights,
        named.weather,
        named.styles,
        named.colours,
        tuple(sorted(other)),
    )


def _names(noun: Noun) -> tuple[str, ...]:
    """A noun's names, with a plural that cannot be told from it."""
    names = (noun.name, *noun.synonyms)
    odd = noun.plural is not None and Vocabulary(nouns=(names,)).unknown(noun.plural)
    return (*names, noun.plural) if odd and noun.plural is not None else names


def _rows(table: dict[str, tuple[str, ...]]) -> Names:
    """Each name with what else it is called, in the words that a prompt would hold."""
    return tuple(
        (name, *dict.fromkeys(o for o in others if "{" not in o and o != name))
        for name, others in table.items()
    )


def _any_scene(rng: np.random.Generator) -> Scene:
    """A scene for its words alone: its things are nowhere and have no drawing."""
    setting, names = sample_setting(rng), list(nouns())
    relation = (None, *SIDES, *LAYERS)[int(rng.integers(len(SIDES) + len(LAYERS) + 1))]
    number = 3 if relation == "between" else 2 if relation else int(rng.integers(0, 6))
    colours = [None, *RGB]
    same = relation is None and (number != 3 or rng.random() < 0.5)
    first = names[int(rng.integers(len(names)))]
    things = tuple(
        Thing(
            first if same else names[int(rng.integers(len(names)))],
            "",
            0.5,
            0.5,
            0.5,
            "air",
            colours[int(rng.integers(len(colours)))],
        )
        for _ in range(number)
    )
    style = [None, *STYLES][int(rng.integers(len(STYLES) + 1))]
    portrait, motif = rng.random() < 0.2, bool(number and same and rng.random() < 0.1)
    return Scene(setting, things, style, relation, portrait, motif)
