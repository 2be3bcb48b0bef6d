"""Objective: the sentence encoder learns to say which thing stands where, and in which colour.

Its states know words but not their roles: from the state of "cat" in "a cat to the left of a tree"
a probe cannot tell left from right (docs/log.md). So it is taught to add, to the states of every
thing's name, a fixed code of that thing's place and colour; all else stays as the encoder had it.
"""

import copy
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer
from torch import Tensor

from flux1.model.bert import BertText
from flux1.training.objective import ParameterGroups, sheet
from flux1.training.scenes import Mixture, Scene, caption, sample_scene
from flux1.training.vocabulary import COLOURS

MIXTURE = Mixture(single=0.2, coloured=0.2, pair=0.5, count=0.1)
# A code: x and y of the place, whether the thing has a colour of its own, and its r, g, b.
CODE_SIZE = 6
CODE_NORM = 3.0  # of one unit; a token's state has norm 12, and 0.6 along any direction
_PLACES = {
    "left": ((-1, 0), (1, 0)),
    "right": ((1, 0), (-1, 0)),
    "above": ((0, -1), (0, 1)),
    "below": ((0, 1), (0, -1)),
}
_RGB = {colour.name: tuple(c / 127.5 - 1 for c in colour.rgb) for colour in COLOURS}
_FIRST_RARE_WORD = 3000  # the ids before it are marks, letters and the words of grammar


def codes(scene: Scene) -> Float[np.ndarray, "things 6"]:
    """What the encoder is to say of each thing."""
    rows = np.zeros((len(scene.things), CODE_SIZE), np.float32)
    for row, thing in zip(rows, scene.things, strict=True):
        if thing.colour is not None:
            row[2:] = (1, *_RGB[thing.colour])
    if scene.relation is not None:
        rows[:, :2] = _PLACES[scene.relation]
    return rows


def directions(width: int, seed: int) -> Float[Tensor, "6 d"]:
    """Random directions of the code in the states, at right angles to each other."""
    noise = torch.randn(width, CODE_SIZE, generator=torch.Generator().manual_seed(seed))
    return CODE_NORM * torch.linalg.qr(noise).Q.T


@dataclass(frozen=True)
class GroundingBatch:
    """Captions as token ids, and the code that belongs to each token (zero for most)."""

    ids: Int[Tensor, "b l"]
    mask: Bool[Tensor, "b l"]
    codes: Float[Tensor, "b l 6"]


@dataclass
class GroundingObjective:
    """Mean squared distance to the states of the encoder as it came, with the codes added, and
    `code_weight` times that of the codes alone, which are 6 of 384 dimensions.

    In half of the scenes random words of the tokenizer name the things, so that what is learnt
    does not depend on the nouns that can be drawn. The word embeddings stay as they are.
    """

    model: BertText
    tokenizer: Tokenizer
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
            word for word, number in known.items()
            if number >= _FIRST_RARE_WORD and len(word) > 2 and word.isascii() and word.isalpha()
        )  # fmt: skip
        width = self.model.config.hidden_size
        device = next(self.model.parameters()).device
        self._directions = directions(width, self.seed).to(device)

    def batch(self, step: int) -> GroundingBatch:
        rng = np.random.default_rng([self.seed, step])
        scenes = [self._renamed(sample_scene(rng, MIXTURE), rng) for _ in range(self.batch_size)]
        return self._encode(scenes, rng)

    def _renamed(self, scene: Scene, rng: np.random.Generator) -> Scene:
        if rng.random() < 0.5:
            return scene
        things = [
            replace(thing, noun=" ".join(rng.choice(self._words, 1 + (rng.random() < 0.3))))
            for thing in scene.things[: 1 if scene.relation is None else 2]
        ]
        return replace(scene, things=(*things, *scene.things[len(things) :]))

    def _encode(self, scenes: Sequence[Scene], rng: np.random.Generator) -> GroundingBatch:
        captions = [caption(scene, rng) for scene in scenes]
        encoded = self.tokenizer.encode_batch([c.words for c in captions])
        longest = min(self.max_tokens, max(len(e.ids) for e in encoded))
        ids = torch.zeros(len(scenes), longest, dtype=torch.int64)
        wanted = torch.zeros(len(scenes), longest, CODE_SIZE)
        for row, (scene, said, tokens) in enumerate(zip(scenes, captions, encoded, strict=True)):
            kept = tokens.ids[:longest]
            ids[row, : len(kept)] = torch.tensor(kept)
            for (start, end), code in zip(said.spans, codes(scene), strict=False):
                for place, (first, behind) in enumerate(tokens.offsets[:longest]):
                    if first < behind and start <= first and behind <= end:
                        wanted[row, place] = torch.from_numpy(code)
        device = self._directions.device
        return GroundingBatch(ids.to(device), (ids > 0).to(device), wanted.to(device))

    def loss(
        self, batch: GroundingBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        own = self.teacher(batch.ids, batch.mask).states.float()
        states = self.model(batch.ids, batch.mask).states.float()
        change = (states - own)[batch.mask]
        wanted = batch.codes[batch.mask]
        apart = (change - wanted @ self._directions).square().mean()
        missed = (self._said(change) - wanted).square().mean()
        figures = {"states": apart.item(), "code_missed": (missed / wanted.square().mean()).item()}
        return apart + self.code_weight * missed, figures

    def _said(self, change: Float[Tensor, "... d"]) -> Float[Tensor, "... 6"]:
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
        pair = Mixture(single=0.0, coloured=0.0, pair=1.0, count=0.0)
        scenes = [self._renamed(sample_scene(rng, pair), rng) for _ in range(8)]
        batch = self._encode(scenes, rng)
        change = model(batch.ids, batch.mask).states - self.teacher(batch.ids, batch.mask).states
        said = self._said(change).cpu()
        tiles = [
            self._map(ids, code, wanted.abs().sum(dim=-1) > 0)
            for ids, code, wanted in zip(batch.ids, said, batch.codes, strict=True)
        ]
        return sheet(tiles, columns=4)

    def _map(
        self, ids: Int[Tensor, " l"], said: Float[Tensor, "l 6"], named: Bool[Tensor, " l"]
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
