"""Prompts to conditioning: tokenise, run the text networks, keep what the transformer reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from flux1.model.bert import BertText
from flux1.model.text import ClipText, T5Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Conditioning:
    """What a prompt became: token states for the sequence, one vector for the modulation.

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


class FluxTextEncoder:
    """FLUX.1's pair: CLIP-L for the pooled vector, T5-XXL for the sequence (padded, unmasked)."""

    def __init__(
        self,
        clip: ClipText,
        t5: T5Text,
        clip_tokenizer: "PreTrainedTokenizerBase",
        t5_tokenizer: "PreTrainedTokenizerBase",
        clip_length: int,
        max_length: int,
    ) -> None:
        self.clip, self.t5 = clip, t5
        self.clip_tokenizer, self.t5_tokenizer = clip_tokenizer, t5_tokenizer
        self.clip_length, self.max_length = clip_length, max_length
        self._one_at_a_time = Lock()  # a call sets a tokenizer's padding, which others would see

    def __call__(self, prompts: Sequence[str], at_least: int | None = None) -> list[Conditioning]:
        with self._one_at_a_time:
            if at_least is None:
                return self._encode(prompts, self.max_length, cut=True)
            return [self._encode([prompt], at_least, cut=False)[0] for prompt in prompts]

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str], length: int, cut: bool) -> list[Conditioning]:
        clip_ids = self.clip_tokenizer(
            list(prompts), padding="max_length", truncation=True,
            max_length=self.clip_length, return_tensors="pt",
        ).input_ids  # fmt: skip
        t5_ids = self.t5_tokenizer(
            list(prompts), padding="max_length", truncation=cut, max_length=length,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        device = next(self.t5.parameters()).device
        pooled = self.clip(clip_ids.to(device))
        states = self.t5(t5_ids.to(device))
        return [
            Conditioning(txt, vector, self._dropped(prompt) if cut else "")
            for prompt, txt, vector in zip(prompts, states, pooled, strict=True)
        ]

    def count(self, prompt: str) -> int:
        with self._one_at_a_time:
            return min(self.max_length, len(self.t5_tokenizer(prompt).input_ids))

    def _dropped(self, prompt: str) -> str:
        ids = self.t5_tokenizer(prompt, add_special_tokens=False).input_ids
        return self.t5_tokenizer.decode(ids[self.max_length - 1 :])  # one place is the end token's


class SentenceTextEncoder:
    """flux-mini's: one sentence encoder (MiniLM) for both slots."""

    def __init__(self, bert: BertText, tokenizer: "Tokenizer", max_length: int) -> None:
        self.bert, self.tokenizer, self.max_length = bert, tokenizer, max_length
        tokenizer.no_padding()
        tokenizer.no_truncation()

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], at_least: int | None = None) -> list[Conditioning]:
        if at_least is not None:
            raise ValueError(f"at_least {at_least}: this encoder's length is fixed")
        encodings = self.tokenizer.encode_batch(list(prompts))
        longest = min(self.max_length, max(len(e.ids) for e in encodings))
        device = next(self.bert.parameters()).device
        ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
        mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
        dropped = []
        for row, encoding in enumerate(encodings):
            kept = encoding.ids
            if len(kept) > self.max_length:  # keep the closing [SEP]
                first_lost = encoding.offsets[self.max_length - 1][0]
                dropped.append(prompts[row][first_lost:])
                kept = [*kept[: self.max_length - 1], kept[-1]]
            else:
                dropped.append("")
            ids[row, : len(kept)] = torch.tensor(kept)
            mask[row, : len(kept)] = True
        features = self.bert(ids.to(device), mask.to(device))
        padding = (0, 0, 0, self.max_length - longest)  # zero states, as at every padding place
        states = torch.nn.functional.pad(features.states, padding)
        return [
            Conditioning(txt, vector, lost)
            for txt, vector, lost in zip(states, features.pooled, dropped, strict=True)
        ]

    def count(self, prompt: str) -> int:
        return min(self.max_length, len(self.tokenizer.encode(prompt).ids))
