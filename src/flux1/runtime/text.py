"""Prompts to conditioning, by the tokenizers' files and the text networks' graphs alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from tokenizers import Tokenizer

from flux1.errors import WeightsError
from flux1.runtime.sessions import OnnxNetwork


@dataclass(frozen=True)
class Conditioning:
    """A prompt, encoded: token states for the sequence, one vector for the modulation, and the
    end of the prompt that the encoder had no room for ('' if it read all)."""

    txt: Float[np.ndarray, "text d"]
    pooled: Float[np.ndarray, " p"]
    dropped: str = ""


class TextEncoder(Protocol):
    def __call__(self, prompt: str) -> Conditioning: ...


class Words:
    """A tokenizer, and how many of its tokens a network reads."""

    def __init__(self, file: Path, length: int) -> None:
        """WeightsError if the file is no tokenizer."""
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as failure:  # `tokenizers` raises bare Exception
            raise WeightsError(f"{file}: not a tokenizer: {failure}") from failure
        longest = (self._tokenizer.truncation or {"max_length": length})["max_length"]
        self._length = min(length, longest)
        padding = self._tokenizer.padding or {"pad_id": 0, "direction": "right"}
        self._padding, self._padding_side = padding["pad_id"], padding["direction"]
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __call__(self, prompt: str) -> tuple[list[int], str]:
        """The tokens that are read, the mark of the end always last; and the words that are not."""
        encoding = self._tokenizer.encode(prompt)
        ids: list[int] = encoding.ids
        if len(ids) <= self._length:
            return ids, ""
        first_lost = encoding.offsets[self._length - 1][0]
        return [*ids[: self._length - 1], ids[-1]], prompt[first_lost:]

    def padded(self, ids: list[int]) -> Int[np.ndarray, "1 length"]:
        padding = [self._padding] * (self._length - len(ids))
        both = padding + ids if self._padding_side == "left" else ids + padding
        return np.array([both], np.int64)


class FluxTextEncoder:
    """CLIP for the pooled vector, T5 for the sequence: both padded, neither masked."""

    def __init__(
        self, clip: OnnxNetwork, t5: OnnxNetwork, clip_words: Words, t5_words: Words
    ) -> None:
        self._clip, self._t5 = clip, t5
        self._clip_words, self._t5_words = clip_words, t5_words

    def __call__(self, prompt: str) -> Conditioning:
        clip_ids, _ = self._clip_words(prompt)
        t5_ids, dropped = self._t5_words(prompt)
        (pooled,) = self._clip(input_ids=self._clip_words.padded(clip_ids))
        (states,) = self._t5(input_ids=self._t5_words.padded(t5_ids))
        return Conditioning(states[0], pooled[0], dropped)


class SentenceTextEncoder:
    """flux-mini's: one sentence encoder for both slots; the states of padding are zero."""

    def __init__(self, bert: OnnxNetwork, words: Words, length: int) -> None:
        self._bert, self._words, self._length = bert, words, length

    def __call__(self, prompt: str) -> Conditioning:
        ids, dropped = self._words(prompt)
        tokens = np.array([ids], np.int64)
        states, pooled = self._bert(input_ids=tokens, attention_mask=np.ones_like(tokens))
        padding = ((0, self._length - len(ids)), (0, 0))
        return Conditioning(np.pad(states[0], padding), pooled[0], dropped)
