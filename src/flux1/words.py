"""The words that a model learnt: their list, what of a prompt is not on it, and what comes near.

The list is made by whoever trains the model and lies beside its weights (`words.json`). It is
exact for a model of a small world; FLUX.1, which read captions of all kinds, has none.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from jaxtyping import Float

SECTIONS = ("nouns", "places", "lights", "weather", "styles", "colours")
LIKE_A_TYPO = 0.8  # of difflib's ratio
NEAR_IN_MEANING = 0.6  # cosine of two words' vectors; what is less alike is not worth a hint
NEAR_IN_PIECES = 0.7  # the same, of a word that the encoder knows by its pieces only
WHOLE = 3  # tokens of a word that the encoder knows whole: it, and the marks at both ends
Names = tuple[tuple[str, ...], ...]  # each: the name, then what else the same is called
# For each text its vector, and how many tokens it is.
Encode = Callable[[Sequence[str]], Sequence[tuple[Float[np.ndarray, " d"], int]]]

_APOSTROPHE = "['\u2019]"
_WORD = re.compile(rf"[^\W_]+(?:{_APOSTROPHE}[^\W_]+)*")
_POSSESSIVE = re.compile(rf"{_APOSTROPHE}s?$")
_PLURALS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""))


@dataclass(frozen=True)
class Vocabulary:
    """The words for what a model learnt to draw, by kind, and in `other` the words that were
    said beside it."""

    nouns: Names = ()
    places: Names = ()
    lights: Names = ()
    weather: Names = ()
    styles: Names = ()
    colours: Names = ()
    other: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The first name of everything that it learnt to draw."""
        return [entry[0] for section in SECTIONS for entry in getattr(self, section)]

    def unknown(self, text: str) -> list[str]:
        """The words of a text that were never learnt, as they are written, each once.

        Names of several words count as such, joined or not ("pine-tree", "teddybears"), in
        singular and plural.
        """
        words = list(_WORD.finditer(text))
        keys = [key_of(word.group()) for word in words]
        spans: list[tuple[int, int]] = []
        place = 0
        while place < len(words):
            length = self._known_at(keys, place)
            if not length:
                start, stop = words[place].span()
                if spans and text[spans[-1][1] : start] == "-":  # of one word, joined by a hyphen
                    start, _ = spans.pop()
                spans.append((start, stop))
            place += length or 1
        found = (text[start:stop] for start, stop in spans)
        return list({word.casefold(): word for word in found}.values())

    def alike(self, word: str) -> str | None:
        """Return what a word is probably a slip of the keyboard for."""
        key = key_of(word)
        swapped = next((known for known in self._spelt if sorted(known) == sorted(key)), None)
        if swapped is not None:
            return swapped
        close = difflib.get_close_matches(key, self._spelt, n=1, cutoff=LIKE_A_TYPO)
        return close[0] if close else None

    def _known_at(self, keys: Sequence[str], place: int) -> int:
        """Return how many words from `place` on make a known name, or one known word; 0: none."""
        for length in range(min(self._longest, len(keys) - place), 0, -1):
            forms = (_singulars(key) for key in keys[place : place + length])
            if any("".join(form) in self._joined for form in product(*forms)):
                return length
        return int(any(form in self._others for form in _singulars(keys[place])))

    @cached_property
    def _parts(self) -> list[list[str]]:
        """The words of each name."""
        entries = (entry for section in SECTIONS for entry in getattr(self, section))
        return [
            [key_of(word) for word in _WORD.findall(name)] for entry in entries for name in entry
        ]

    @cached_property
    def _spelt(self) -> list[str]:
        """All names and other words, as they are typed."""
        entries = (entry for section in SECTIONS for entry in getattr(self, section))
        return sorted({*self.other, *(name for entry in entries for name in entry)})

    @cached_property
    def _joined(self) -> frozenset[str]:
        return frozenset("".join(parts) for parts in self._parts)

    @cached_property
    def _longest(self) -> int:
        """The number of words of the longest name; two at least, for a name of one may be
        written as two."""
        return max([2, *map(len, self._parts)])

    @cached_property
    def _others(self) -> frozenset[str]:
        return frozenset(self.other)


class Meanings:
    """A vocabulary's names as the model's own text encoder sees them."""

    def __init__(self, vocabulary: Vocabulary, encode: Encode) -> None:
        self.vocabulary, self._encode = vocabulary, encode

    def nearest(self, word: str) -> str | None:
        """Return what the model knows and a word may stand for: by spelling if the encoder has
        no such word, else by meaning. None if nothing is near."""
        ((vector, tokens),) = self._encode([word])
        whole = tokens <= WHOLE
        alike = None if whole else self.vocabulary.alike(word)
        if alike is not None or not self.vocabulary.names:
            return alike
        likeness = self._table @ vector / np.linalg.norm(vector)
        best = int(likeness.argmax())
        near = likeness[best] >= (NEAR_IN_MEANING if whole else NEAR_IN_PIECES)
        return self.vocabulary.names[best] if near else None

    @cached_property
    def _table(self) -> Float[np.ndarray, "names d"]:
        vectors = np.stack([vector for vector, _ in self._encode(self.vocabulary.names)])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def key_of(word: str) -> str:
    """A word without what does not tell it from others."""
    return re.sub(_APOSTROPHE, "", _POSSESSIVE.sub("", word.casefold()))


def _singulars(key: str) -> Iterator[str]:
    """A word, and what it may be the plural of."""
    yield key
    for ending, instead in _PLURALS:
        if key.endswith(ending) and len(key) > len(ending) + 1 and not key.endswith("ss"):
            yield key.removesuffix(ending) + instead
