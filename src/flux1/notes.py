"""Remarks that a person should read on a request that is drawn all the same, a line each."""

from collections.abc import Callable

from flux1.request import ImageRequest
from flux1.variants import Variant
from flux1.words import Encode, Meanings

MOST_WORDS = 12  # in one line


class Notes:
    """The remarks of a model's row on a request: words that were never learnt, a size that was
    never trained. A row that lists neither has nothing to say."""

    def __init__(self, variant: Variant, encode: Encode | None) -> None:
        """`encode` gives texts' vectors by the model's own text encoder; it is called for unknown
        words only. Without one, nothing is said to be near them."""
        self._variant = variant
        self._nearest: Callable[[str], str | None] = _nothing
        if variant.words is not None and encode is not None:
            self._nearest = Meanings(variant.words, encode).nearest

    def __call__(self, request: ImageRequest) -> tuple[str, ...]:
        """The lines, none where there is nothing to say."""
        return tuple(filter(None, (self._words(request), self._size(request))))

    def _words(self, request: ImageRequest) -> str:
        """The line about the prompt's words. Whatever a LoRA was taught, it is not on the list:
        with one, no word is called unknown."""
        words = self._variant.words
        unknown = [] if words is None or request.loras else words.unknown(request.prompt)
        if not unknown:
            return ""
        shown = [self._with_nearest(word) for word in unknown[:MOST_WORDS]]
        if len(unknown) > MOST_WORDS:
            shown.append(f"and {len(unknown) - MOST_WORDS} more")
        return f"words that {self._variant.id} never learnt: {', '.join(shown)}"

    def _with_nearest(self, word: str) -> str:
        near = self._nearest(word)
        return word if near is None else f"{word} (nearest: {near})"

    def _size(self, request: ImageRequest) -> str:
        """The line about a size of no training."""
        trained = self._variant.trained_sizes
        if not trained or (request.width, request.height) in trained:
            return ""
        known = ", ".join(f"{width}x{height}" for width, height in trained)
        asked = f"{request.width}x{request.height}"
        return f"{self._variant.id} was trained at {known}, not at {asked}"


def _nothing(_word: str) -> str | None:
    return None
