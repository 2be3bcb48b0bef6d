"""Objective: the sentence encoder learns to say what stands where, in which colour, how often.

Its states know words but not their roles: from the state of "cat" in "a cat to the left of a tree"
a probe cannot tell left from right (docs/log.md). So it is taught to add, to the states of every
thing's name, a fixed code of that thing's place, colour and number; and to say "cat" where it reads
"kitten". All else stays as the encoder had it.
"""

import copy
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer
from torch import Tensor

from flux1.model.bert import BertText
from flux1.training.mini.worlds import Caption, S
from flux1.training.objective import ParameterGroups, sheet

CODE_NORM = 3.0  # of one unit; a token's state has norm 12, and 0.6 along any direction
_FIRST_RARE_WORD = 3000  # the ids before it are marks, letters and the words of grammar


@runtime_checkable
class Lessons(Protocol[S]):
    """The answers that the encoder learns to give about the scenes of a world.

    A code has `sum(parts)` numbers; parts that were added later keep the directions of those
    before them.
    """

    @property
    def parts(self) -> tuple[int, ...]: ...

    def scene(self, rng: np.random.Generator) -> S:
        """A scene with something to say."""
        ...

    def pair(self, rng: np.random.Generator) -> S:
        """Two things in their places, for the previews."""
        ...

    def caption(self, scene: S, rng: np.random.Generator) -> Caption: ...

    def renamed(self, scene: S, name: Callable[[], str]) -> S:
        """The scene with its named things called by other names."""
        ...

    def first_names(self, said: Caption, scene: S) -> Caption:
        """The caption with every thing called as in the list of nouns: "cat" for "kitten"."""
        ...

    def codes(self, scene: S) -> Float[np.ndarray, "things code"]:
        """Return what is to be said of each thing."""
        ...


def directions(width: int, parts: Sequence[int], seed: int) -> Float[Tensor, "code d"]:
    """Random directions of the code in the states, at right angles to each other."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.cat([torch.randn(width, n, generator=generator) for n in parts], dim=1)
    return CODE_NORM * torch.linalg.qr(noise).Q.T


@dataclass(frozen=True)
class GroundingBatch:
    """Captions as token ids, and the code that belongs to each token (zero for most); the same in
    first names, and for each token of a name its equal share in the tokens of the first name."""

    ids: Int[Tensor, "b l"]
    mask: Bool[Tensor, "b l"]
    codes: Float[Tensor, "b l code"]
    first_ids: Int[Tensor, "b m"]
    shares: Float[Tensor, "b l m"]


@dataclass
class GroundingObjective(Generic[S]):
    """Mean squared distance to the states of the encoder as it came, with the codes added, and
    `code_weight` times that of the codes alone, which are few of 384 dimensions. To a name belongs
    the state that the thing's first name would have.

    In a third of the scenes random words of the tokenizer name the things, so that what is learnt
    does not depend on the nouns that can be drawn. The word embeddings stay as they are.
    """

    model: BertText
    tokenizer: Tokenizer
    lessons: Lessons[S]
    batch_size: int
    seed: int
    max_tokens: int
    code_weight: float
    unit: str = "captions"
    teacher: BertText = field(init=False)

    def __post_init__(self) -> None:
        self.teacher = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.model.requires_grad_(True)
        self.model.bert["embeddings"].requires_grad_(False)
        known = self.tokenizer.get_vocab()
        self._words = sorted(
            word
            for word, number in known.items()
            if number >= _FIRST_RARE_WORD and len(word) > 2 and word.isascii() and word.isalpha()
        )
        width = self.model.config.hidden_size
        device = next(self.model.parameters()).device
        self._directions = directions(width, self.lessons.parts, self.seed).to(device)

    def batch(self, step: int) -> GroundingBatch:
        rng = np.random.default_rng([self.seed, step])
        fresh = (self.lessons.scene(rng) for _ in range(self.batch_size))
        return self._encode([self._renamed(scene, rng) for scene in fresh], rng)

    def _renamed(self, scene: S, rng: np.random.Generator) -> S:
        if rng.random() < 2 / 3:
            return scene
        return self.lessons.renamed(
            scene, lambda: " ".join(rng.choice(self._words, 1 + (rng.random() < 0.3)))
        )

    def _encode(self, scenes: Sequence[S], rng: np.random.Generator) -> GroundingBatch:
        lessons = self.lessons
        captions = [lessons.caption(scene, rng) for scene in scenes]
        firsts = [lessons.first_names(c, scene) for c, scene in zip(captions, scenes, strict=True)]
        ids, names = self._tokens(captions)
        first_ids, first_names = self._tokens(firsts)
        wanted = torch.zeros(*ids.shape, sum(lessons.parts))
        shares = torch.zeros(*ids.shape, first_ids.shape[1])
        for row, scene in enumerate(scenes):
            for number, code in enumerate(lessons.codes(scene)[: len(names[row])]):
                name, first = names[row][number], first_names[row][number]
                wanted[row, name] = torch.from_numpy(code)
                if captions[row].name(number) != firsts[row].name(number):
                    shares[row, torch.tensor(name)[:, None], torch.tensor(first)] = 1 / len(first)
        device = self._directions.device
        return GroundingBatch(
            ids.to(device),
            (ids > 0).to(device),
            wanted.to(device),
            first_ids.to(device),
            shares.to(device),
        )

    def _tokens(self, said: Sequence[Caption]) -> tuple[Int[Tensor, "b l"], list[list[list[int]]]]:
        """Ids, zero behind the end; and of each caption's names the tokens they consist of."""
        encoded = self.tokenizer.encode_batch([one.words for one in said])
        longest = min(self.max_tokens, max(len(e.ids) for e in encoded))
        ids = torch.zeros(len(said), longest, dtype=torch.int64)
        names = []
        for row, (one, tokens) in enumerate(zip(said, encoded, strict=True)):
            kept = tokens.ids[:longest]
            ids[row, : len(kept)] = torch.tensor(kept)
            places = list(enumerate(tokens.offsets[:longest]))
            names.append(
                [
                    [at for at, (first, behind) in places if start <= first < behind <= end]
                    for start, end in (span or (0, 0) for span in one.spans)
                ]
            )
        return ids, names

    def loss(
        self, batch: GroundingBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        own = self._own(batch)
        states = self.model(batch.ids, batch.mask).states.float()
        change = (states - own)[batch.mask]
        wanted = batch.codes[batch.mask]
        apart = (change - wanted @ self._directions).square().mean()
        missed = (self._said(change) - wanted).square().mean()
        figures = {"states": apart.item(), "code_missed": (missed / wanted.square().mean()).item()}
        return apart + self.code_weight * missed, figures

    def _own(self, batch: GroundingBatch) -> Float[Tensor, "b l d"]:
        """Return what the encoder as it came has to say of each token, of names by their first
        names."""
        own = self.teacher(batch.ids, batch.mask).states.float()
        first = self.teacher(batch.first_ids, batch.first_ids > 0).states.float()
        named = batch.shares.sum(dim=-1, keepdim=True) > 0
        return torch.where(named, batch.shares @ first, own)

    def _said(self, change: Float[Tensor, "... d"]) -> Float[Tensor, "... code"]:
        """The codes in what was added to the encoder's own states."""
        return change @ self._directions.T / CODE_NORM**2

    def groups(self) -> ParameterGroups:
        learnt = [p for p in self.model.parameters() if p.requires_grad]
        matrices = [p for p in learnt if p.ndim == 2]
        return ParameterGroups(matrices, [p for p in learnt if p.ndim != 2])

    @torch.no_grad()
    def preview(self, model: BertText) -> Image.Image:
        """Captions, and each word of their things where its state says."""
        rng = np.random.default_rng([self.seed, 2**31])
        scenes = [self._renamed(self.lessons.pair(rng), rng) for _ in range(8)]
        batch = self._encode(scenes, rng)
        change = model(batch.ids, batch.mask).states - self._own(batch)
        said = self._said(change).cpu()
        tiles = [
            self._map(ids, code, wanted.abs().sum(dim=-1) > 0)
            for ids, code, wanted in zip(batch.ids, said, batch.codes, strict=True)
        ]
        return sheet(tiles, columns=4)

    def _map(
        self, ids: Int[Tensor, " l"], said: Float[Tensor, "l code"], named: Bool[Tensor, " l"]
    ) -> Image.Image:
        side, reach = 256, 80
        tile = Image.new("RGB", (side, side), "gray")
        pen, font = ImageDraw.Draw(tile), ImageFont.load_default(11)
        for token, (x, y, *_) in zip(ids[named].tolist(), said[named].tolist(), strict=True):
            place = (side / 2 + x * reach, side / 2 + y * reach)
            word = self.tokenizer.id_to_token(token) or "?"
            pen.text(place, word, "white", font, anchor="mm")
        words = textwrap.wrap(self.tokenizer.decode(ids.tolist()), 42)
        pen.multiline_text((4, 4), "\n".join(words), "black", font)
        return tile
