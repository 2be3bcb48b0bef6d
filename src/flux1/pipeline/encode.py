"""Prompts to conditioning: tokenise, run the text networks, keep what the transformer reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from flux1.model.bert import BertText
from flux1.model.text import ClipText, T5Text
from flux1.variants import Text
from flux1.weights.load import TextParts

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Conditioning:
    """A prompt, encoded: token states for the sequence, one vector for the modulation.

    `dropped` is the end of the prompt that did not fit into the encoder's length, '' if all did.
    """

    txt: Float[Tensor, "text d"]
    pooled: Float[Tensor, " p"]
    dropped: str = ""


@runtime_checkable
class TextEncoder(Protocol):
    """Prompts to conditioning, one for each."""

    def __call__(self, prompts: Sequence[str], at_least: int | None = None) -> list[Conditioning]:
        """`at_least`: pad T5's text to so many tokens and never cut it; None: to the model's own
        length, and cut there. ValueError where there is no T5."""
        ...

    def count(self, prompt: str) -> int:
        """The tokens that are read of a prompt, marks at its ends included."""
        ...

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The networks that encode: none, if what they gave was kept."""
        ...


def text_encoder(parts: TextParts, text: Text) -> "FluxTextEncoder | SentenceTextEncoder":
    """The text encoder that text networks and their tokenizers make."""
    if text.clip is None:
        bert = parts["bert"]
        return SentenceTextEncoder(bert.network, SentenceWords(bert.tokenizer, text.max_tokens))
    clip, t5 = parts["clip"], parts["t5"]
    longest = min(clip.tokenizer.model_max_length, text.clip.max_length)
    words = FluxWords(clip.tokenizer, t5.tokenizer, longest, text.max_tokens)
    return FluxTextEncoder(clip.network, t5.network, words)


class FluxWords:
    """FLUX.1's two tokenizers, and how many tokens CLIP and T5 read."""

    def __init__(
        self,
        clip: "PreTrainedTokenizerBase",
        t5: "PreTrainedTokenizerBase",
        clip_length: int,
        max_length: int,
    ) -> None:
        self.clip, self.t5 = clip, t5
        self.clip_length, self.max_length = clip_length, max_length
        self._one_at_a_time = Lock()  # a call sets a tokenizer's padding, which others would see

    def ids(
        self, prompts: Sequence[str], length: int, cut: bool
    ) -> tuple[Int[Tensor, "b clip"], Int[Tensor, "b t5"], list[str]]:
        """The tokens of each prompt for CLIP and for T5, padded, and the words that T5 does not
        read. `length` is T5's; only with `cut` does a longer text end there."""
        with self._one_at_a_time:
            clip_ids = self.clip(
                list(prompts),
                padding="max_length",
                truncation=True,
                max_length=self.clip_length,
                return_tensors="pt",
            ).input_ids
            t5_ids = self.t5(
                list(prompts),
                padding="max_length",
                truncation=cut,
                max_length=length,
                return_tensors="pt",
            ).input_ids
            return clip_ids, t5_ids, [self._dropped(prompt) if cut else "" for prompt in prompts]

    def count(self, prompt: str) -> int:
        """The number of tokens that T5 reads of a prompt."""
        with self._one_at_a_time:
            return min(self.max_length, len(self.t5(prompt).input_ids))

    def _dropped(self, prompt: str) -> str:
        ids = self.t5(prompt, add_special_tokens=False).input_ids
        return self.t5.decode(ids[self.max_length - 1 :])  # one place is the end token's


class FluxTextEncoder:
    """FLUX.1's pair: CLIP-L for the pooled vector, T5-XXL for the sequence (padded, unmasked)."""

    def __init__(self, clip: ClipText, t5: T5Text, words: FluxWords) -> None:
        self.clip, self.t5, self.words = clip, t5, words

    @property
    def networks(self) -> Sequence[nn.Module]:
        """CLIP and T5."""
        return self.clip, self.t5

    def __call__(self, prompts: Sequence[str], at_least: int | None = None) -> list[Conditioning]:
        if at_least is None:
            return self._encode(prompts, self.words.max_length, cut=True)
        return [self._encode([prompt], at_least, cut=False)[0] for prompt in prompts]

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str], length: int, cut: bool) -> list[Conditioning]:
        clip_ids, t5_ids, dropped = self.words.ids(prompts, length, cut)
        device = next(self.t5.parameters()).device
        pooled = self.clip(clip_ids.to(device))
        states = self.t5(t5_ids.to(device))
        return [Conditioning(*one) for one in zip(states, pooled, dropped, strict=True)]

    def count(self, prompt: str) -> int:
        return self.words.count(prompt)


class SentenceWords:
    """A sentence encoder's tokenizer, and how many tokens the encoder reads."""

    def __init__(self, tokenizer: "Tokenizer", max_length: int) -> None:
        self.tokenizer, self.max_length = tokenizer, max_length
        tokenizer.no_padding()
        tokenizer.no_truncation()

    def ids(self, prompts: Sequence[str]) -> tuple[Int[Tensor, "b longest"], "Tensor", list[str]]:
        """The tokens of each prompt, padded to the longest; a mask of those that are a prompt's
        own; and the words that are not read."""
        encodings = self.tokenizer.encode_batch(list(prompts))
        kept = [self._kept(encoding) for encoding in encodings]
        longest = max(map(len, kept))
        ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
        mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
        for row, own in enumerate(kept):
            ids[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = True
        lost = [self._dropped(*one) for one in zip(prompts, encodings, strict=True)]
        return ids, mask, lost

    def count(self, prompt: str) -> int:
        """The number of tokens that are read of a prompt."""
        return min(self.max_length, len(self.tokenizer.encode(prompt).ids))

    def _kept(self, encoding: "Encoding") -> list[int]:
        """The tokens that are read, the closing [SEP] always among them."""
        ids: list[int] = encoding.ids
        if len(ids) <= self.max_length:
            return ids
        return [*ids[: self.max_length - 1], ids[-1]]

    def _dropped(self, prompt: str, encoding: "Encoding") -> str:
        if len(encoding.ids) <= self.max_length:
            return ""
        return prompt[encoding.offsets[self.max_length - 1][0] :]


class SentenceTextEncoder:
    """flux-mini's: one sentence encoder (MiniLM) for both slots."""

    def __init__(self, bert: BertText, words: SentenceWords) -> None:
        self.bert, self.words = bert, words

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The sentence encoder."""
        return (self.bert,)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], at_least: int | None = None) -> list[Conditioning]:
        if at_least is not None:
            raise ValueError(f"at_least {at_least}: this encoder's length is fixed")
        ids, mask, dropped = self.words.ids(prompts)
        device = next(self.bert.parameters()).device
        features = self.bert(ids.to(device), mask.to(device))
        padding = (0, 0, 0, self.words.max_length - ids.shape[1])  # zero states, as at each padding
        states = torch.nn.functional.pad(features.states, padding)
        return [Conditioning(*one) for one in zip(states, features.pooled, dropped, strict=True)]

    def count(self, prompt: str) -> int:
        return self.words.count(prompt)
