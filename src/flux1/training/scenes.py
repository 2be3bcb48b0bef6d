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

from flux1.training.sprites import Sprites
from flux1.training.vocabulary import (
    COLOUR_NAMES,
    COLOURS,
    HELD_OUT_COLOURS,
    HELD_OUT_STYLES,
    NOUNS,
    STYLES,
    SYNONYMS,
    plural,
    with_article,
)

NUMBERS = ("zero", "one", "two", "three", "four", "five")
RELATIONS = ("left", "right", "above", "below")
_RGB = {colour.name: np.array(colour.rgb, dtype=np.float32) for colour in COLOURS}


@dataclass(frozen=True)
class Thing:
    """One object: centre and size are fractions of the picture's side."""

    noun: str
    x: float
    y: float
    size: float
    colour: str | None = None


@dataclass(frozen=True)
class Scene:
    """What a picture shows. `relation` says where the first thing is, seen from the second."""

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
    scene: Scene, sprites: Sprites, size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """Draw a scene; `rng` only moves the background's shade a little."""
    shade = np.clip(_RGB[scene.background] + rng.uniform(-5, 5, 3), 0, 255)
    canvas = Image.new("RGB", (size, size), tuple(int(c) for c in shade))
    for thing in scene.things:
        rgba = sprites.rgba[scene.style][_index()[thing.noun]]
        if thing.colour is not None:
            rgba = recolour(rgba, thing.colour)
        side = max(8, round(thing.size * size))
        drawn = Image.fromarray(rgba).resize((side, side), Image.Resampling.BILINEAR)
        corner = (round(thing.x * size - side / 2), round(thing.y * size - side / 2))
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
    "left": ((0.27, 0.5), (0.73, 0.5)),
    "right": ((0.73, 0.5), (0.27, 0.5)),
    "above": ((0.5, 0.27), (0.5, 0.73)),
    "below": ((0.5, 0.73), (0.5, 0.27)),
}
_PAIR_SIZE = 0.45


def _jitter(centre: tuple[float, float], rng: np.random.Generator) -> tuple[float, float]:
    dx, dy = rng.uniform(-0.02, 0.02, 2)
    return centre[0] + dx, centre[1] + dy


def _pick_style(nouns: Sequence[str], rng: np.random.Generator) -> str:
    flat = rng.random() < 0.3
    return "flat" if flat and all((n, "flat") not in HELD_OUT_STYLES for n in nouns) else "glossy"


def _pick_colour(noun: str, background: str, rng: np.random.Generator) -> str:
    held_out = {c for n, c in HELD_OUT_COLOURS if n == noun}
    allowed = [c for c in COLOUR_NAMES if c != background and c not in held_out]
    return allowed[rng.integers(len(allowed))]


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene from the training distribution; held-out pairs never occur."""
    kind = rng.random()
    background = COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
    noun = NOUNS[rng.integers(len(NOUNS))]
    if kind < 0.70:  # one object, a third of them recoloured
        style = _pick_style([noun], rng)
        colour = _pick_colour(noun, background, rng) if kind > 0.55 else None
        x, y = _jitter((0.5, 0.5), rng)
        thing = Thing(noun, x, y, rng.uniform(0.70, 0.78), colour)
        return Scene((thing,), background, style)
    if kind < 0.90:  # two objects and where they stand
        other = NOUNS[rng.integers(len(NOUNS))]
        style = _pick_style([noun, other], rng)
        relation = RELATIONS[rng.integers(4)]
        things = []
        for name, centre in zip((noun, other), _PAIR_CENTRES[relation], strict=True):
            colour = _pick_colour(name, background, rng) if rng.random() < 0.2 else None
            things.append(Thing(name, *_jitter(centre, rng), _PAIR_SIZE, colour))
        return Scene(tuple(things), background, style, relation)
    style = _pick_style([noun], rng)
    centres, size = _LAYOUTS[int(rng.integers(2, 6))]
    colour = _pick_colour(noun, background, rng) if rng.random() < 0.2 else None
    copies = tuple(Thing(noun, *_jitter(c, rng), size, colour) for c in centres)
    return Scene(copies, background, style)


_FRAMES = (
    "{}", "{}", "{}", "a picture of {}", "an illustration of {}", "a drawing of {}",
    "an emoji of {}", "an icon of {}", "clip art of {}", "an image of {}",
)  # fmt: skip
_BACKGROUNDS = (
    "{0} on {2} background", "{0} on {2} background", "{0} on {2} background", "{0} on {1}",
    "{0} in front of {2} background", "{0}, {1} background", "{0} with {2} background",
    "{0} against {2} background", "on {2} background, {0}",
)  # fmt: skip
_RELATION_WORDS = {
    "left": ("to the left of", "left of", "on the left of", "to the left of"),
    "right": ("to the right of", "right of", "on the right of", "to the right of"),
    "above": ("above", "over", "on top of", "above"),
    "below": ("below", "under", "beneath", "below"),
}


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _name(thing: Thing, rng: np.random.Generator) -> str:
    noun = thing.noun
    if noun in SYNONYMS and rng.random() < 0.25:
        noun = _choose(SYNONYMS[noun], rng)
    words = noun if thing.colour is None else f"{thing.colour} {noun}"
    return with_article(words, noun)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of many wordings of a scene. Leaves the background out only where it is white."""
    first = scene.things[0]
    if scene.relation is not None:
        a, b = (_name(thing, rng) for thing in scene.things)
        if scene.relation == "left" and rng.random() < 0.3:
            words = _choose((f"{a} next to {b}", f"{a} and {b}", f"{a} beside {b}"), rng)
        else:
            words = f"{a} {_choose(_RELATION_WORDS[scene.relation], rng)} {b}"
    elif len(scene.things) > 1:
        count = len(scene.things)
        number = str(count) if rng.random() < 0.2 else NUMBERS[count]
        coloured = "" if first.colour is None else f"{first.colour} "
        words = f"{number} {coloured}{plural(first.noun)}"
    else:
        words = _name(first, rng)
    style_words = STYLES[scene.style]
    if scene.style != next(iter(STYLES)) or rng.random() < 0.35:
        style = _choose(style_words, rng)
        words = _choose(
            (
                f"{words}, {style} style",
                f"a {style} picture of {words}",
                f"{words} in {style} style",
                f"a {style} icon of {words}",
                f"{style} {words.removeprefix('a ').removeprefix('an ')}",
            ),
            rng,
        )
    else:
        words = _choose(_FRAMES, rng).format(words)
    if scene.background != "white" or rng.random() < 0.5:
        articled = with_article(scene.background, scene.background)
        words = _choose(_BACKGROUNDS, rng).format(words, scene.background, articled)
    return words
