"""Scenes drawn at random from the world, pairs that are held out left aside."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from flux1.training.mini.world.arrange import (
    Figure,
    Shape,
    above_one_another,
    anywhere,
    in_a_row,
    repeated,
    scattered,
)
from flux1.training.mini.world.colours import RGB
from flux1.training.mini.world.compose import painted
from flux1.training.mini.world.drawings import Drawings
from flux1.training.mini.world.held_out import HELD_OUT_COLOURS, HELD_OUT_PLACES, HELD_OUT_STYLES
from flux1.training.mini.world.layers import ARRANGEMENTS
from flux1.training.mini.world.nouns import Noun, nouns
from flux1.training.mini.world.places import LIGHTS, PLACES
from flux1.training.mini.world.places.setting import Ground, Setting
from flux1.training.mini.world.scenes import SIDES, Mixture, Scene, Thing
from flux1.training.mini.world.settings import STUDIO, sample_setting, setting_in, surfaces
from flux1.training.mini.world.styles import STYLES

T = TypeVar("T")
# Where a noun belongs, and the surfaces that offer it. Whatever floats in the empty air of studios
# and in space needs no reason to be there.
_OFFERS = {
    "ground": {"ground", "road", "floor"},
    "indoors": {"floor", "table", "wall"},
    "water surface": {"water surface"},
    "under water": {"under water"},
    "air": {"sky"},
    "sky": {"sky"},
}
_FREE = {"air", "space"}
# Things that others stand on, look out of or sit on; and what is worn.
_SUPPORTS = ("table", "bench", "chair", "box", "bed", "couch", "rock", "suitcase", "car")
_CONTAINERS = ("box", "basket", "cup", "bucket", "bowl", "vase", "flower pot")
_MOUNTS = ("horse", "bicycle", "motorcycle", "elephant", "camel", "scooter", "skateboard", "cow")
_WORN = ("hat", "cowboy hat", "crown", "glasses", "sunglasses")
_SINGLE_SIZES, _PAIR_SIZES, _ROW_SIZES = (0.35, 0.9), (0.32, 0.56), (0.28, 0.36)
_PORTRAIT_SIZES = (0.5, 0.85)
# Styles that a caption always names, as nobody who says none means them.
MARKED_STYLES = ("silhouette", "line icon", "pixel art")
_INKED = ("silhouette", "line icon")  # black ink, which cannot be seen in the dark


@dataclass(frozen=True)
class Sampler:
    """Samples scenes for pictures of one size, `width` x `height` pixels."""

    drawings: Drawings
    mixture: Mixture
    width: int
    height: int

    def scene(self, rng: np.random.Generator) -> Scene:
        """A scene of the mixture; a pure function of the generator's state."""
        shares = self.mixture.shares()
        kind = str(rng.choice(list(shares), p=list(shares.values())))
        while True:
            made = _KINDS[kind](_Draft.begin(self, rng))
            if made is not None:
                return made


@dataclass(frozen=True)
class _Draft:
    """A scene in the making: a first noun, a setting in which it may be, a style or none."""

    sampler: Sampler
    rng: np.random.Generator
    noun: Noun
    setting: Setting
    style: str | None

    @classmethod
    def begin(cls, sampler: Sampler, rng: np.random.Generator) -> "_Draft":
        noun = _choose(list(nouns().values()), rng)
        places = [place for place in PLACES if _belongs(noun, surfaces(place), place)]
        while True:
            draft = cls(sampler, rng, noun, sample_setting(rng, places), None)
            styles = draft._styles() if draft.grounds(noun) else []
            if styles:
                return replace(draft, style=draft._pick_style(styles))

    @property
    def shape(self) -> Shape:
        return Shape.of(self.sampler.width, self.sampler.height)

    def grounds(self, noun: Noun) -> tuple[Ground, ...]:
        """Return where the noun may be in this setting; empty if nowhere."""
        size = (self.sampler.width, self.sampler.height)
        here = painted(self.setting, *size).grounds
        return tuple(g for g in here if _belongs(noun, {g.surface}, self.setting.place))

    def partner(self, among: Sequence[Noun]) -> Noun | None:
        """Another noun that may be here and is drawn in the scene's style."""
        for _ in range(40):
            noun = _choose(among, self.rng)
            if noun.name != self.noun.name and self._drawn(noun) and self.grounds(noun):
                return noun
        return None

    def figure(
        self, noun: Noun, coloured: bool = False, framings: tuple[str, ...] = ("whole", "face")
    ) -> Figure:
        """The noun as it will be drawn: which drawing, mirrored or not, how far turned."""
        rng, drawings = self.rng, self.sampler.drawings
        choices = self._drawn(noun)
        choices = [i for i in choices if drawings.framing[i] in framings] or choices
        index = choices[int(rng.integers(len(choices)))]
        high, wide = drawings.rgba[index].shape[:2]
        cut = drawings.framing[index] == "bust" and self.setting.place not in STUDIO
        colour = self._pick_colour(noun) if coloured and noun.tints else None
        turns = noun.turns and not cut and rng.random() < 0.4
        turned = float(rng.uniform(-15, 15)) if turns else 0.0
        mirrored = bool(noun.mirrors and rng.random() < 0.5)
        return Figure(
            noun.name,
            drawings.name[index],
            wide / high,
            self.grounds(noun),
            cut,
            colour,
            mirrored,
            turned,
        )

    def scene(self, things: Sequence[Thing], relation: str | None = None) -> Scene:
        return Scene(self.setting, tuple(things), self.style, relation)

    def _drawn(self, noun: Noun) -> list[int]:
        """The drawings of a noun in the scene's style; in none, or in one that is made from any,
        those of all unmarked styles. A box or a disc makes no silhouette."""
        drawings, any_style = self.sampler.drawings, self.style is None or STYLES[self.style].made
        if (noun.name, self.style) in HELD_OUT_STYLES:
            return []
        return [
            i
            for i in drawings.of(noun.name)
            if drawings.style[i] == self.style
            or (
                any_style
                and drawings.style[i] not in MARKED_STYLES
                and (self.style != "silhouette" or drawings.outline_tells[i])
                and (noun.name, drawings.style[i]) not in HELD_OUT_STYLES
            )
        ]

    def _styles(self) -> list[str]:
        """The styles in which the noun can be drawn and seen in this setting."""
        dark = LIGHTS[self.setting.light].ambient < 0.6 or self.setting.place == "space"
        return [
            style
            for style in STYLES
            if replace(self, style=style)._drawn(self.noun) and not (dark and style in _INKED)
        ]

    def _pick_style(self, styles: Sequence[str]) -> str | None:
        """No common style in two of five scenes."""
        if self._drawn(self.noun) and self.rng.random() < 0.4:
            return None
        weights = np.array([0.35 if style in MARKED_STYLES else 1.0 for style in styles])
        return str(self.rng.choice(styles, p=weights / weights.sum()))

    def _pick_colour(self, noun: Noun) -> str:
        held_out = {colour for name, colour in HELD_OUT_COLOURS if name == noun.name}
        hidden = held_out | set(self.setting.colours)
        return _choose([colour for colour in RGB if colour not in hidden], self.rng)


def _belongs(noun: Noun, offered: Collection[str], place: str) -> bool:
    """Return whether the noun may be where these surfaces are, in a place that is not held out
    for it."""
    if (noun.name, place) in HELD_OUT_PLACES:
        return False
    fitting = _FREE.union(*(_OFFERS[where] for where in noun.where))
    return not fitting.isdisjoint(offered)


def _empty(draft: _Draft) -> Scene | None:
    """A place alone; an empty studio shows nothing worth learning."""
    places = [place for place in PLACES if place not in STUDIO]
    return Scene(sample_setting(draft.rng, places))


def _single(draft: _Draft, coloured: bool = False) -> Scene | None:
    if coloured and not draft.noun.tints:
        return None
    if draft.rng.random() < 0.4 and (draft.noun.busts or draft.noun.faces):
        return _portrait(draft, coloured)
    figure = draft.figure(draft.noun, coloured)
    return draft.scene([anywhere(figure, _SINGLE_SIZES, draft.shape, draft.rng)])


def _portrait(draft: _Draft, coloured: bool) -> Scene | None:
    figure = draft.figure(draft.noun, coloured, ("bust", "face"))
    thing = anywhere(figure, _PORTRAIT_SIZES, draft.shape, draft.rng)
    return replace(draft.scene([thing]), portrait=True)


def _coloured(draft: _Draft) -> Scene | None:
    return _single(draft, coloured=True)


def _pair(draft: _Draft, coloured: bool = False) -> Scene | None:
    other = draft.partner(_tinting() if coloured else _all())
    if other is None or (coloured and not draft.noun.tints):
        return None
    rng, relation = draft.rng, _choose(SIDES, draft.rng)
    tint = 1.0 if coloured else 0.15
    a, b = (draft.figure(n, rng.random() < tint) for n in (draft.noun, other))
    first, second = (a, b) if relation in ("left", "above") else (b, a)
    if relation in ("left", "right"):
        things = in_a_row([first, second], _PAIR_SIZES, draft.shape, rng)
    else:
        things = above_one_another(first, second, _PAIR_SIZES, draft.shape, rng)
    if things is None:
        return None
    return draft.scene(things if first is a else things[::-1], relation)


def _painted(draft: _Draft) -> Scene | None:
    return _pair(draft, coloured=True)


def _count(draft: _Draft) -> Scene | None:
    if draft.noun.plural is None:
        return None
    rng, number = draft.rng, int(draft.rng.integers(2, 6))
    first = draft.figure(draft.noun, rng.random() < 0.2)
    copies = [
        replace(first, mirrored=bool(first.mirrored ^ (rng.random() < 0.3))) for _ in range(number)
    ]
    if rng.random() < 0.25:
        copies = [replace(draft.figure(draft.noun), colour=first.colour) for _ in range(number)]
    things = scattered(copies, draft.shape, rng)
    return None if things is None else draft.scene(things)


def _triple(draft: _Draft) -> Scene | None:
    others = [draft.partner(_all()), draft.partner(_all())]
    three = [draft.noun, *(noun for noun in others if noun is not None)]
    if len({noun.name for noun in three}) < 3:
        return None
    coloured = draft.rng.random() < 0.4
    row = [draft.figure(noun, coloured) for noun in three]
    things = in_a_row(row, _ROW_SIZES, draft.shape, draft.rng)
    if things is None:
        return None
    if draft.rng.random() < 0.5:
        return draft.scene([things[1], things[0], things[2]], "between")
    return draft.scene(things)


def _layered(draft: _Draft) -> Scene | None:
    relation = _choose(list(ARRANGEMENTS), draft.rng)
    row = _LAYERED[relation]
    if not row.first(draft.noun):
        return None
    among = [noun for noun in _all() if row.second(noun)]
    other = draft.partner(among)
    if other is None:
        return None
    framings = ("face",) if relation == "wearing" else ("whole",)
    a = draft.figure(draft.noun, draft.rng.random() < 0.1, framings)
    b = draft.figure(other, draft.rng.random() < 0.25, ("whole",))
    if a.cut or b.cut:
        return None
    return draft.scene(ARRANGEMENTS[relation](a, b, draft.shape, draft.rng), relation)


def _motif(draft: _Draft) -> Scene | None:
    draft = replace(draft, setting=setting_in("plain", draft.rng))
    if draft.noun.plural is None or not draft.grounds(draft.noun):
        return None
    among = [noun for noun in _all() if noun.plural is not None]
    other = draft.partner(among) if draft.rng.random() < 0.6 else None
    figures = [draft.figure(n) for n in ([draft.noun] if other is None else [draft.noun, other])]
    things = tuple(repeated(figures, draft.shape, draft.rng))
    return Scene(draft.setting, things, draft.style, motif=True)


_KINDS: dict[str, Callable[[_Draft], Scene | None]] = {
    "empty": _empty, "single": _single, "coloured": _coloured, "pair": _pair,
    "painted": _painted, "count": _count, "triple": _triple, "layered": _layered, "motif": _motif,
}  # fmt: skip


@dataclass(frozen=True)
class _Layered:
    """The nouns that go together in a relation of two things that overlap."""

    first: Callable[[Noun], bool]
    second: Callable[[Noun], bool]


def _living(noun: Noun) -> bool:
    return noun.kind in ("person", "animal", "bird")


def _not_large(noun: Noun) -> bool:
    return noun.size != "large" and not noun.head_only


def _whole(noun: Noun) -> bool:
    return bool(noun.whole)


_LAYERED = {
    "in front of": _Layered(_whole, _whole),
    "behind": _Layered(_whole, _whole),
    "on": _Layered(_not_large, lambda noun: noun.name in _SUPPORTS),
    "inside": _Layered(_not_large, lambda noun: noun.name in _CONTAINERS),
    "riding": _Layered(
        lambda noun: _living(noun) and _not_large(noun), lambda noun: noun.name in _MOUNTS
    ),
    "wearing": _Layered(lambda noun: bool(noun.faces), lambda noun: noun.name in _WORN),
    "holding": _Layered(
        lambda noun: _living(noun) and bool(noun.whole), lambda noun: noun.size == "small"
    ),
}


def _all() -> list[Noun]:
    return list(nouns().values())


def _tinting() -> list[Noun]:
    """The nouns that a colour word may be said of."""
    return [other for other in _all() if other.tints]


def _choose(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.integers(len(options)))]
