"""Scenes composed on the fly from sprites, each with a caption that is true of it.

A scene is a specification first (what, where, which colour), then pixels and words from that
specification, so that training and benchmarks know the ground truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydantic import ConfigDict, TypeAdapter

from flux1.training.mini.sprites import Sprites
from flux1.training.mini.synonyms import SYNONYMS
from flux1.training.mini.vocabulary import (
    COLOUR_NAMES,
    COLOUR_SYNONYMS,
    COLOURS,
    HELD_OUT_COLOURS,
    HELD_OUT_STYLES,
    NOUNS,
    STYLES,
    plural,
    with_article,
)
from flux1.training.mini.worlds import Caption

NUMBERS = ("zero", "one", "two", "three", "four", "five")
RELATIONS = ("left", "right", "above", "below")
_RGB = {colour.name: np.array(colour.rgb, dtype=np.float32) for colour in COLOURS}


@dataclass(frozen=True)
class Thing:
    """One object: its centre and size are fractions of the picture's sides."""

    noun: str
    x: float
    y: float
    size: float
    colour: str | None = None


@dataclass(frozen=True)
class Scene:
    """The contents of a picture. `relation` says where the first thing is, seen from the second."""

    things: tuple[Thing, ...]
    background: str
    style: str
    relation: str | None = None


@lru_cache(maxsize=1)
def _index() -> dict[str, int]:
    return {noun: i for i, noun in enumerate(NOUNS)}


def recolour(rgba: UInt8[np.ndarray, "h w 4"], colour: str) -> UInt8[np.ndarray, "h w 4"]:
    """Tint a drawing, keeping its light and shade: dark stays dark, highlights go towards white."""
    target = _RGB[colour]
    light = rgba[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    ink = rgba[..., 3] > 128
    middle = float(np.median(light[ink])) if ink.any() else 0.5
    middle = min(max(middle, 0.25), 0.8)
    shade = np.clip(light / middle, 0.25, 1.0)[..., None]
    glow = np.clip((light - middle) / (1 - middle), 0, 1)[..., None] * 0.6
    tinted = target * shade * (1 - glow) + 255 * glow
    return np.concatenate([tinted.clip(0, 255).astype(np.uint8), rgba[..., 3:]], axis=-1)


def render(
    scene: Scene, sprites: Sprites, width: int, height: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a scene; `rng` only moves the background's shade a little. In a picture that is not
    square, sizes are fractions of the shorter side."""
    shade = np.clip(_RGB[scene.background] + rng.uniform(-5, 5, 3), 0, 255)
    canvas = Image.new("RGB", (width, height), tuple(int(c) for c in shade))
    for thing in scene.things:
        rgba = sprites.rgba[scene.style][_index()[thing.noun]]
        if thing.colour is not None:
            rgba = recolour(rgba, thing.colour)
        side = max(8, round(thing.size * min(width, height)))
        drawn = Image.fromarray(rgba).resize((side, side), Image.Resampling.BILINEAR)
        corner = (round(thing.x * width - side / 2), round(thing.y * height - side / 2))
        canvas.paste(drawn, corner, drawn)
    return np.asarray(canvas)


# Where the copies stand in scenes that count: centres and size for 2 to 5 things.
_LAYOUTS: dict[int, tuple[tuple[tuple[float, float], ...], float]] = {
    1: (((0.5, 0.5),), 0.74),
    2: (((0.27, 0.5), (0.73, 0.5)), 0.44),
    3: (((0.27, 0.28), (0.73, 0.28), (0.5, 0.73)), 0.40),
    4: (((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)), 0.38),
    5: (((0.22, 0.22), (0.78, 0.22), (0.5, 0.5), (0.22, 0.78), (0.78, 0.78)), 0.32),
}
_PAIR_CENTRES = {
    "left": ((0.26, 0.5), (0.74, 0.5)),
    "right": ((0.74, 0.5), (0.26, 0.5)),
    "above": ((0.5, 0.26), (0.5, 0.74)),
    "below": ((0.5, 0.74), (0.5, 0.26)),
}
_PAIR_SIZE = 0.5


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of scene; they add up to 1. `coloured` is one object, recoloured;
    `painted` is a pair, both recoloured."""

    single: float = 0.55
    coloured: float = 0.15
    pair: float = 0.20
    count: float = 0.10
    painted: float = 0.0
    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        shares = (self.single, self.coloured, self.pair, self.count, self.painted)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"shares must be at least 0 and add up to 1, not {sum(shares):g}")


_COMMON = Mixture()


def _jitter(
    centre: tuple[float, float], rng: np.random.Generator, reach: float = 0.02
) -> tuple[float, float]:
    dx, dy = rng.uniform(-reach, reach, 2)
    return centre[0] + dx, centre[1] + dy


def _pick_style(nouns: Sequence[str], rng: np.random.Generator) -> str:
    flat = rng.random() < 0.3
    return "flat" if flat and all((n, "flat") not in HELD_OUT_STYLES for n in nouns) else "glossy"


def _pick_colour(noun: str, background: str, rng: np.random.Generator) -> str:
    held_out = {c for n, c in HELD_OUT_COLOURS if n == noun}
    allowed = [c for c in COLOUR_NAMES if c != background and c not in held_out]
    return allowed[rng.integers(len(allowed))]


def sample_scene(rng: np.random.Generator, mixture: Mixture = _COMMON) -> Scene:
    """Draw a scene from the training distribution; held-out pairs never occur."""
    kind = rng.random()
    one = mixture.single + mixture.coloured
    background = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
    noun = NOUNS[rng.integers(len(NOUNS))]
    if kind < one:
        style = _pick_style([noun], rng)
        colour = _pick_colour(noun, background, rng) if kind > mixture.single else None
        x, y = _jitter((0.5, 0.5), rng)
        thing = Thing(noun, x, y, rng.uniform(0.70, 0.78), colour)
        return Scene((thing,), background, style)
    if kind < one + mixture.pair + mixture.painted:
        tint = 0.2 if kind < one + mixture.pair else 1.0
        other = NOUNS[rng.integers(len(NOUNS))]
        style = _pick_style([noun, other], rng)
        relation = RELATIONS[rng.integers(4)]
        things = []
        for name, centre in zip((noun, other), _PAIR_CENTRES[relation], strict=True):
            colour = _pick_colour(name, background, rng) if rng.random() < tint else None
            things.append(Thing(name, *_jitter(centre, rng, 0.01), _PAIR_SIZE, colour))
        return Scene(tuple(things), background, style, relation)
    style = _pick_style([noun], rng)
    centres, size = _LAYOUTS[int(rng.integers(2, 6))]
    colour = _pick_colour(noun, background, rng) if rng.random() < 0.2 else None
    copies = tuple(Thing(noun, *_jitter(c, rng), size, colour) for c in centres)
    return Scene(copies, background, style)


# The words around a scene. Common ones stand more than once; adherence's own wordings are not
# among them, so that what it measures is not what was learnt by heart.
_FRAMES = (
    "{}", "{}", "{}", "{}", "a picture of {}", "an illustration of {}", "a drawing of {}",
    "an emoji of {}", "an icon of {}", "clip art of {}", "an image of {}", "a sticker of {}",
    "a graphic of {}", "a sketch of {}", "show me {}", "a poster of {}",
    "a picture that has {} in it", "there is {}", "one picture: {}", "a render of {}", "simply {}",
    "{}, clip art", "{}, emoji", "{}, illustration", "{}, centred", "only {}", "{} alone",
    "I want {}", "I like {}", "give me {}", "can you draw {}?", "draw {} for me", "here is {}",
    "look, {}!", "this is {}", "a logo with {}", "a cartoon of {}", "{} for my son", "{}, thanks",
    "we saw {}", "she has {}", "{} from a story", "the one thing is {}", "{}, very cute", "{}!",
)  # fmt: skip
_BACKGROUNDS = (
    "{0} on {2} background", "{0} on {2} background", "{0} on {2} background",
    "{0} on {2} background", "{0} on {1}", "{0} in front of {2} background", "{0}, {1} background",
    "{0} with {2} background", "{0} against {2} background", "on {2} background, {0}",
    "{0} over {1}", "{0}, background {1}", "{0}, background: {1}", "{0}. The background is {1}.",
    "{0}. {1} background", "{0} before {2} wall", "{0} against {1}", "{0}, all {1} behind",
    "{0} and {1} everywhere behind it", "{1} background, {0}", "{1} background: {0}",
    "{2} background with {0}", "{2} picture with {0}", "{0} on {2} surface", "{0} on {1} paper",
    "{0} on {2} canvas", "{0} surrounded by {1}", "{0} in {2} scene", "{0} on {2} field",
    "{0}, the rest is {1}", "make the background {1} and show {0}", "{0} with {1} behind it",
    "{0} with a background that is {1}", "{0} on {2} screen", "against {1}, {0}",
    "{0} on {2} card", "{0}, {1} colour behind", "{0}, uniform {1} background",
    "{0} on a simple {1} background", "{0} on an even {1} ground",
)  # fmt: skip
_RELATION_WORDS = {
    "left": ("to the left of", "to the left of", "left of", "on the left of", "at the left of"),
    "right": ("to the right of", "to the right of", "right of", "on the right of",
              "at the right of"),
    "above": ("above", "above", "over", "on top of", "higher than", "hovering over", "atop"),
    "below": ("below", "below", "under", "beneath", "underneath", "lower than", "right under"),
}  # fmt: skip
# {0} is the thing on the left or above, {1} the other one.
_PLACE_WORDS = {
    True: ("{0} on the left and {1} on the right", "{0} at left, {1} at right",
           "left: {0}, right: {1}", "{1} on the right, {0} on the left", "on the left {0}, on the "
           "right {1}", "{0} (left) and {1} (right)", "from left to right: {0} and {1}",
           "the left one is {0}, the right one {1}",
           "{0} in the left part, {1} in the right part", "{1} to the right and {0} to the left"),
    False: ("{0} at the top and {1} at the bottom", "{0} on top, {1} at the bottom",
            "top: {0}, bottom: {1}", "{1} at the bottom, {0} at the top", "at the top {0}, at the "
            "bottom {1}", "{0} (top) and {1} (bottom)", "from top to bottom: {0} and {1}",
            "the one above is {0}, the one below {1}",
            "{0} in the top part, {1} in the bottom part"),
}  # fmt: skip
# Of two things side by side, without saying so.
_BOTH_WORDS = (
    "{0} next to {1}", "{0} and {1}", "{0} and {1}", "{0} beside {1}", "{0} along with {1}",
    "{0} alongside {1}", "{0} accompanied by {1}", "{0} with {1}", "{0} plus {1}", "{0} near {1}",
    "{0} as well as {1}", "{0} & {1}", "{0}, {1}", "two things: {0} and {1}", "{0} and then {1}",
    "not only {0} but {1}", "{0} in the company of {1}",
)  # fmt: skip
_COUNT_WORDS = (
    "{0} {1}", "{0} {1}", "{0} {1}", "{1}, {0} of them", "a set of {0} {1}", "{0} copies of {1}",
    "{0} separate {1}", "a total of {0} {1}", "a bunch of {0} {1}", "a collection of {0} {1}",
    "{0} identical {1}", "{0} pieces of {1}", "{1}: {0}", "{0} times {1}",
)  # fmt: skip
_COLOUR_WORDS = (
    "{a} {noun} in {colour}", "{a} {noun} that is {colour}", "{a} {noun}, {colour}",
    "{a} {noun} of {colour} colour", "an all-{colour} {noun}", "{a} {noun} dyed {colour}",
    "an entirely {colour} {noun}", "a fully {colour} {noun}", "a totally {colour} {noun}",
    "{a} {noun} tinted {colour}", "{a} {noun} sprayed {colour}", "{a} {noun}, but {colour}",
    "{a} {noun} whose colour is {colour}", "{a} {noun} made {colour}", "{a} {noun} turned {colour}",
    "{a} {noun} lacquered in {colour}", "{a} {noun} with a {colour} surface",
)  # fmt: skip
_ADJECTIVES = (
    "cute", "little", "big", "small", "lovely", "nice", "old", "new", "beautiful", "funny",
    "pretty", "friendly", "happy", "strange", "fine", "perfect", "simple", "single",
    "my friend's", "great",
)  # fmt: skip


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _name(number: int, thing: Thing, rng: np.random.Generator) -> str:
    noun = _called(thing.noun, rng)
    marked = _mark(number, noun)
    article = with_article(noun, noun).removesuffix(noun).strip()
    if thing.colour is not None:
        colour = _colour_name(thing.colour, rng)
        if article and rng.random() < 0.35:
            return _choose(_COLOUR_WORDS, rng).format(a=article, noun=marked, colour=colour)
        return with_article(f"{colour} {noun}", noun).removesuffix(noun) + marked
    if article and rng.random() < 0.1:
        return with_article(f"{_choose(_ADJECTIVES, rng)} {noun}", noun).removesuffix(noun) + marked
    return f"{article} {marked}".strip()


def _called(noun: str, rng: np.random.Generator) -> str:
    """A thing's name, or another that people have for it."""
    return _choose(SYNONYMS[noun], rng) if noun in SYNONYMS and rng.random() < 0.3 else noun


def _colour_name(colour: str, rng: np.random.Generator) -> str:
    return _choose(COLOUR_SYNONYMS[colour], rng) if rng.random() < 0.15 else colour


# While a caption grows, each thing's name stands between two characters of Unicode's private use.
_OPEN, _CLOSE = 0xE000, 0xE100


def _mark(number: int, name: str) -> str:
    return f"{chr(_OPEN + number)}{name}{chr(_CLOSE + number)}"


def _unmark(marked: str) -> Caption:
    words, starts, ends = "", {}, {}
    for character in marked:
        if _OPEN <= ord(character) < _CLOSE:
            starts[ord(character) - _OPEN] = len(words)
        elif _CLOSE <= ord(character) < _CLOSE + 0x100:
            ends[ord(character) - _CLOSE] = len(words)
        else:
            words += character
    return Caption(words, tuple((starts[i], ends[i]) for i in sorted(starts)))


def _pair_words(scene: Scene, rng: np.random.Generator) -> str:
    """Two things and where they are: seen from one of them, or each by its own place."""
    a, b = (_name(number, thing, rng) for number, thing in enumerate(scene.things))
    assert scene.relation is not None
    how = rng.random()
    if scene.relation == "left" and how < 0.35:
        return _choose(_BOTH_WORDS, rng).format(a, b)
    if how < 0.65:
        return f"{a} {_choose(_RELATION_WORDS[scene.relation], rng)} {b}"
    first_leads = scene.relation in ("left", "above")
    lead, follow = (a, b) if first_leads else (b, a)
    return _choose(_PLACE_WORDS[scene.relation in ("left", "right")], rng).format(lead, follow)


def _count_words(scene: Scene, rng: np.random.Generator) -> str:
    first, count = scene.things[0], len(scene.things)
    number = str(count) if rng.random() < 0.3 else NUMBERS[count]
    coloured = "" if first.colour is None else f"{_colour_name(first.colour, rng)} "
    name = plural(_called(first.noun, rng))
    return _choose(_COUNT_WORDS, rng).format(number, coloured + _mark(0, name))


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """One of many wordings of a scene. Leaves the background out only where it is white."""
    if scene.relation is not None:
        words = _pair_words(scene, rng)
    elif len(scene.things) > 1:
        words = _count_words(scene, rng)
    else:
        words = _name(0, scene.things[0], rng)
    style_words = STYLES[scene.style]
    if scene.style != next(iter(STYLES)) or rng.random() < 0.25:
        style = _choose(style_words, rng)
        words = _choose(
            (
                f"{words}, {style} style",
                f"{words}, {style}",
                f"a {style} picture of {words}",
                f"{words} in {style} style",
                f"{words} drawn in a {style} way",
                f"a {style} icon of {words}",
                f"{style} {words.removeprefix('a ').removeprefix('an ')}",
            ),
            rng,
        )
    else:
        words = _choose(_FRAMES, rng).format(words)
    if scene.background != "white" or rng.random() < 0.5:
        colour = _colour_name(scene.background, rng)
        articled = with_article(colour, colour)
        words = _choose(_BACKGROUNDS, rng).format(words, colour, articled)
    return _unmark(words)


@dataclass(frozen=True)
class SpriteWorld:
    """Scenes of sprites on plain colours: the world of the shipped weights."""

    sprites: Sprites
    mixture: Mixture = _COMMON

    def to_json(self, scene: Scene) -> str:
        return _FORM.dump_json(scene).decode()

    def from_json(self, line: str) -> Scene:
        return _FORM.validate_json(line)

    def sample(self, rng: np.random.Generator, size: tuple[int, int]) -> Scene:
        return sample_scene(rng, self.mixture)

    def picture(
        self, scene: Scene, size: tuple[int, int], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        return render(scene, self.sprites, *size, rng)

    def caption(self, scene: Scene, rng: np.random.Generator) -> Caption:
        return caption(scene, rng)


_FORM = TypeAdapter(Scene)
