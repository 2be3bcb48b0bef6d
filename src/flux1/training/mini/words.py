"""The list of words that ships with the weights: the vocabulary, and what captions say besides."""

from functools import lru_cache

import numpy as np

from flux1.training.mini.scenes import NUMBERS, Mixture, caption, sample_scene
from flux1.training.mini.synonyms import SYNONYMS
from flux1.training.mini.vocabulary import COLOUR_NAMES, COLOUR_SYNONYMS, NOUNS, STYLES, plural
from flux1.words import Names, Vocabulary, key_of

CAPTIONS = 8_000  # the rarest frame is among so many some ten times
# Words that name nothing and that any sentence may hold, whether or not a caption did.
FUNCTION_WORDS = """
a an and are as at be been being but by can could do does for from had has have he her here hers him
his i if in into is it its me my of off on or our ours out she so some than that the their them then
there these they this those to too us very was we were what where which while who whose will with
without would you your yours please
"""


@lru_cache(maxsize=1)
def learnt_words() -> Vocabulary:
    """The words of this recipe's world. What stands around the names is gathered from captions, so
    it follows from the frames, whatever they are."""
    nouns: Names = tuple((noun, *SYNONYMS.get(noun, ()), *_odd_plurals(noun)) for noun in NOUNS)
    colours: Names = tuple((name, *COLOUR_SYNONYMS[name]) for name in COLOUR_NAMES)
    styles: Names = tuple((name, *words[1:]) for name, words in STYLES.items())
    named = Vocabulary(nouns=nouns, styles=styles, colours=colours)
    rng, mixture = np.random.default_rng(0), Mixture(0.3, 0.3, 0.1, 0.2, 0.1)
    other = set(FUNCTION_WORDS.split())
    for _ in range(CAPTIONS):
        words = caption(sample_scene(rng, mixture), rng).words
        other.update(key_of(word) for word in named.unknown(words))
    other.update(str(number) for number, word in enumerate(NUMBERS) if word in other)
    return Vocabulary(nouns=nouns, styles=styles, colours=colours, other=tuple(sorted(other)))


def _odd_plurals(noun: str) -> tuple[str, ...]:
    """Plurals that captions say and that cannot be told from the noun."""
    return (plural(noun),) if Vocabulary(nouns=((noun,),)).unknown(plural(noun)) else ()
