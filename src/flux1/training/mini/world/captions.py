"""Words that are true of a scene, in hundreds of frames.

A caption says its things and their relation, then where, in which light and weather, then how it
is drawn; any of these may be left out. Quality words change nothing and are said now and then.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flux1.training.mini.vocabulary import COLOUR_SYNONYMS
from flux1.training.mini.world.nouns import article, nouns, regular_plural
from flux1.training.mini.world.places import Setting
from flux1.training.mini.world.places.words import light_words, place_words, weather_words
from flux1.training.mini.world.sample import MARKED_STYLES
from flux1.training.mini.world.scenes import Scene, Thing
from flux1.training.mini.world.settings import STUDIO
from flux1.training.mini.world.styles import STYLES
from flux1.training.mini.worlds import Caption

NUMBERS = ("zero", "one", "two", "three", "four", "five")


def caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """One of many wordings of a scene; a pure function of the generator's state."""
    form = rng.random()
    if form < 0.16:
        words = _keywords(scene, rng)
    elif form < 0.26 and scene.setting.place not in STUDIO:
        words = _place_first(scene, rng)
    else:
        words = _sentence(scene, rng)
    if rng.random() < 0.12:
        words = f"{words}, {_quality(rng)}"
    if rng.random() < 0.08:
        words = words[0].upper() + words[1:] + _choose((".", "", "!"), rng)
    return _unmark(words, len(scene.things))


# Frames around a whole sentence; the plain one stands more than once.
_FRAMES = (
    *("{}",) * 14, "a picture of {}", "an illustration of {}", "a drawing of {}", "an image of {}",
    "a scene with {}", "a poster of {}", "a postcard of {}", "a painting of {}", "a sticker of {}",
    "an artwork of {}", "a graphic of {}", "a render of {}", "a sketch of {}", "clip art of {}",
    "an emoji of {}", "show me {}", "draw {}", "please draw {}", "I want {}", "there is {}",
    "here is {}", "this is {}", "we see {}", "imagine {}", "a children's book picture of {}",
    "a view of {}", "concept art of {}", "a cover with {}", "a card with {}", "wallpaper: {}",
    "{}, illustration", "{}, artwork", "{}, digital art", "{}, vector art", "{}, please",
)  # fmt: skip
_QUALITY = (
    "ultra-detailed", "highly detailed", "8k", "4k", "trending on artstation", "cinematic",
    "volumetric lighting", "masterpiece", "best quality", "beautiful", "vivid colours",
    "sharp focus", "award-winning", "professional", "high resolution", "dramatic", "stunning",
    "very detailed", "intricate", "epic", "minimalist", "cosy", "dreamy", "hd", "octane render",
)  # fmt: skip
_ADJECTIVES = (
    "cute", "little", "big", "small", "lovely", "nice", "old", "new", "beautiful", "funny",
    "pretty", "friendly", "happy", "strange", "fine", "simple", "single", "great", "tiny", "lone",
)  # fmt: skip
_COLOUR_WORDS = (
    "{a} {noun} in {colour}", "{a} {noun} that is {colour}", "{a} {noun}, {colour}",
    "{a} {noun} of {colour} colour", "{a} {noun} painted {colour}", "{a} {noun} dyed {colour}",
    "{a} {noun} whose colour is {colour}", "{a} {noun}, coloured {colour}",
)  # fmt: skip
_COUNT_WORDS = (
    "{0} {1}", "{0} {1}", "{0} {1}", "{0} {1}", "{1}, {0} of them", "a group of {0} {1}",
    "a set of {0} {1}", "exactly {0} {1}", "a total of {0} {1}", "{0} of the {1}",
)  # fmt: skip
_RELATION_WORDS = {
    "left": ("to the left of", "to the left of", "left of", "on the left of", "at the left of"),
    "right": ("to the right of", "to the right of", "right of", "on the right of",
              "at the right of"),
    "above": ("above", "above", "over", "higher than", "hovering over", "floating above"),
    "below": ("below", "below", "under", "beneath", "underneath", "lower than"),
    "in front of": ("in front of", "in front of", "before", "standing in front of"),
    "behind": ("behind", "behind", "hidden behind", "partly behind", "standing behind"),
    "on": ("on", "on top of", "sitting on", "standing on", "atop"),
    "inside": ("in", "inside", "inside of", "looking out of"),
    "wearing": ("wearing", "wearing", "with", "who wears", "in"),
    "holding": ("holding", "holding", "with", "carrying", "who holds"),
    "riding": ("riding", "riding", "on", "sitting on", "riding on"),
}  # fmt: skip
# {0} is the thing on the left or above, {1} the other one.
_PLACED = {
    "left": ("{0} on the left and {1} on the right", "{0} at left, {1} at right",
             "left: {0}, right: {1}", "{1} on the right, {0} on the left",
             "on the left {0}, on the right {1}", "from left to right: {0} and {1}",
             "{1} to the right and {0} to the left"),
    "above": ("{0} at the top and {1} at the bottom", "{0} on top, {1} at the bottom",
              "top: {0}, bottom: {1}", "{1} at the bottom, {0} at the top",
              "at the top {0}, at the bottom {1}", "from top to bottom: {0} and {1}"),
}  # fmt: skip
_PORTRAITS = ("portrait of {}", "a portrait of {}", "a portrait of {}", "the face of {}",
              "a close-up of {}", "the head of {}", "{}, portrait", "{} looking at us")  # fmt: skip
_BOTH = (
    "{0} and {1}", "{0} and {1}", "{0} and {1}", "{0} next to {1}", "{0} beside {1}",
    "{0} with {1}", "{0} near {1}", "{0} together with {1}", "{0} as well as {1}",
)  # fmt: skip
_ON_COLOUR = (
    "{0} on {2} background", "{0} on {2} background", "{0} on {2} background", "{0} on {1}",
    "{0} in front of {2} background", "{0}, {1} background", "{0} with {2} background",
    "{0} against {2} background", "on {2} background, {0}", "{0}, background: {1}",
    "{0} before {2} wall", "{1} background, {0}", "{2} background with {0}", "{0} on {1} paper",
)  # fmt: skip


def _sentence(scene: Scene, rng: np.random.Generator) -> str:
    """Things, place, light and weather, style: as people say it."""
    words = _things(scene, rng)
    styled = _style_words(scene, rng)
    if words and styled is not None and rng.random() < 0.5:
        words = _choose(
            (
                "{0} {1}",
                "a {0} picture of {2}",
                "a {0} illustration of {2}",
                "a {0} of {2}" if styled in _ART_NOUNS else "a {0} drawing of {2}",
            ),
            rng,
        ).format(styled, _bare(words), words)
        words = _mend_articles(words)
        styled = None
    elif words and styled is None:
        words = _choose(_FRAMES, rng).format(words)
    where = _where(scene, rng)
    when = _when(scene, rng)
    if not words:
        words = " ".join(part for part in (_place_name(scene, rng), *when) if part)
        words = _choose(_FRAMES, rng).format(words)
    elif scene.setting.place in STUDIO:
        words = _on_studio(words, scene, rng)
    elif when and rng.random() < 0.15:
        words = f"{when[0]}, {' '.join([words, where, *when[1:]])}"
    else:
        words = " ".join([words, where, *when])
    if styled is not None:
        words = _choose(("{0}, {1} style", "{0}, {1}", "{0} in {1} style"), rng).format(
            words, styled
        )
    return words


def _place_first(scene: Scene, rng: np.random.Generator) -> str:
    """The place, and what is in it."""
    place = " ".join([_place_name(scene, rng), *_when(scene, rng)])
    things = _things(scene, rng)
    styled = _style_words(scene, rng)
    words = f"{place} with {things}" if things else place
    if things and rng.random() < 0.3:
        words = f"{place}; {_choose(('there is', 'in it', 'we see', 'with'), rng)} {things}"
    return words if styled is None else f"{words}, {styled} style"


def _keywords(scene: Scene, rng: np.random.Generator) -> str:
    """A list of words, the main thing first."""
    setting = scene.setting
    parts = [_things(scene, rng)]
    if setting.place in STUDIO:
        parts.append(_studio_name(scene, rng))
    else:
        parts.append(_choose((_place_name(scene, rng), _where(scene, rng)), rng))
        light, weather = light_words(setting), weather_words(setting)
        if light.nouns and (setting.light != "day" or rng.random() < 0.3):
            parts.append(_choose((*light.nouns, *light.phrases), rng))
        if setting.weather != "clear":
            parts.append(_choose((*weather.nouns, *weather.phrases), rng))
    styled = _style_words(scene, rng)
    if styled is not None:
        parts.append(_choose((styled, f"{styled} style"), rng))
    for _ in range(int(rng.integers(0, 4))):
        parts.append(_quality(rng))
    lead, rest = parts[0], [part for part in parts[1:] if part]
    if len(rest) > 2 and rng.random() < 0.3:
        rng.shuffle(rest)
    return ", ".join([part for part in (lead, *rest) if part])


def _where(scene: Scene, rng: np.random.Generator) -> str:
    return _choose(place_words(scene.setting).phrases, rng)


def _place_name(scene: Scene, rng: np.random.Generator) -> str:
    if scene.setting.place in STUDIO:
        return _studio_name(scene, rng)
    return _choose(place_words(scene.setting).nouns, rng)


def _when(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Light and weather; day and clear skies are mostly left out."""
    setting, parts = scene.setting, []
    light = light_words(setting).phrases
    if light and (setting.light != "day" or rng.random() < 0.12):
        parts.append(_choose(light, rng))
    if setting.weather != "clear":
        parts.append(_choose(weather_words(setting).phrases, rng))
    if len(parts) == 2 and rng.random() < 0.5:
        parts.reverse()
    return parts


def _studio_name(scene: Scene, rng: np.random.Generator) -> str:
    """The background of a place without a world: "a red background", "a dotted background"."""
    return _mend_articles(_choose(place_words(_in_other_words(scene.setting, rng)).nouns, rng))


def _on_studio(words: str, scene: Scene, rng: np.random.Generator) -> str:
    setting = scene.setting
    if setting.place == "plain":
        if setting.colours[0] == "white" and rng.random() < 0.5:
            return words
        colour = _colour_name(setting.colours[0], rng)
        return _choose(_ON_COLOUR, rng).format(words, colour, _with_article(colour))
    phrase = _choose(place_words(_in_other_words(setting, rng)).phrases, rng)
    return f"{words} {_mend_articles(phrase)}"


def _in_other_words(setting: Setting, rng: np.random.Generator) -> Setting:
    """The setting with its colours under one of their names."""
    return replace(setting, colours=tuple(_colour_name(colour, rng) for colour in setting.colours))


def _things(scene: Scene, rng: np.random.Generator) -> str:
    """Return what stands in the scene, with its relation; empty if nothing does."""
    things = scene.things
    if not things:
        return ""
    if scene.motif:
        return _motif_words(scene, rng)
    if len(things) == 1:
        name = _name(0, things[0], rng)
        if scene.portrait and rng.random() < 0.5:
            return _choose(_PORTRAITS, rng).format(name)
        return name
    if scene.relation == "between":
        a, b, c = (_name(i, thing, rng) for i, thing in enumerate(things))
        return f"{a} between {b} and {c}"
    if scene.relation is None and len({thing.noun for thing in things}) == 1:
        return _count_words(scene, rng)
    if scene.relation is None:
        names = [_name(i, thing, rng) for i, thing in enumerate(things)]
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return _pair_words(scene, rng)


def _pair_words(scene: Scene, rng: np.random.Generator) -> str:
    """Two things and where they are: seen from one of them, or each by its own place."""
    a, b = (_name(number, thing, rng) for number, thing in enumerate(scene.things))
    relation, how = scene.relation, rng.random()
    assert relation is not None
    if relation in ("left", "right") and how < 0.3:
        return _choose(_BOTH, rng).format(a, b)
    if relation in ("left", "right", "above", "below") and how > 0.7:
        first_leads = relation in ("left", "above")
        lead, follow = (a, b) if first_leads else (b, a)
        axis = "left" if relation in ("left", "right") else "above"
        return _choose(_PLACED[axis], rng).format(lead, follow)
    return f"{a} {_choose(_RELATION_WORDS[relation], rng)} {b}"


def _count_words(scene: Scene, rng: np.random.Generator) -> str:
    first, count = scene.things[0], len(scene.things)
    number = str(count) if rng.random() < 0.2 else NUMBERS[count]
    coloured = "" if first.colour is None else f"{_colour_name(first.colour, rng)} "
    name = plural_of(first.noun, _called(first.noun, rng))
    return _choose(_COUNT_WORDS, rng).format(number, coloured + _mark(0, name))


def _motif_words(scene: Scene, rng: np.random.Generator) -> str:
    seen: dict[str, int] = {}
    for number, thing in enumerate(scene.things):
        seen.setdefault(thing.noun, number)
    names = [_mark(i, plural_of(noun, noun)) for noun, i in seen.items()]
    frame = _choose(
        (
            "a pattern of {}",
            "a seamless pattern with {}",
            "many {}",
            "wrapping paper with {}",
            "a repeating pattern of {}",
        ),
        rng,
    )
    return frame.format(" and ".join(names))


def _name(number: int, thing: Thing, rng: np.random.Generator) -> str:
    """A thing with its article, its colour and now and then an adjective."""
    noun = _called(thing.noun, rng)
    marked = _mark(number, noun)
    row = nouns().get(thing.noun)
    counted = row is None or row.form_of(noun) == "count"
    if thing.colour is not None:
        colour = _colour_name(thing.colour, rng)
        if counted and rng.random() < 0.25:
            a = _with_article(noun).removesuffix(noun).strip()
            return _choose(_COLOUR_WORDS, rng).format(a=a, noun=marked, colour=colour)
        return f"{_with_article(colour) if counted else colour} {marked}"
    if counted and rng.random() < 0.1:
        return f"{_with_article(_choose(_ADJECTIVES, rng))} {marked}"
    return f"{_with_article(noun).removesuffix(noun)}{marked}" if counted else marked


def _called(noun: str, rng: np.random.Generator) -> str:
    """A thing's name, or another that people have for it."""
    row = nouns().get(noun)
    others = () if row is None else row.synonyms
    return _choose(others, rng) if others and rng.random() < 0.25 else noun


def _colour_name(colour: str, rng: np.random.Generator) -> str:
    others = COLOUR_SYNONYMS.get(colour)
    return _choose(others, rng) if others and rng.random() < 0.12 else colour


def _style_words(scene: Scene, rng: np.random.Generator) -> str | None:
    """The style's name: always for marked styles, else in half of the captions."""
    if scene.style is None or not scene.things:
        return None
    if scene.style not in MARKED_STYLES and rng.random() < 0.5:
        return None
    return _choose(STYLES[scene.style].words, rng)


def _quality(rng: np.random.Generator) -> str:
    return _choose(_QUALITY, rng)


_ART_NOUNS = ("cartoon", "silhouette", "line icon")


def _bare(words: str) -> str:
    """Without the article in front."""
    return re.sub(r"^(a|an) ", "", words)


def _with_article(words: str) -> str:
    return f"{article(words)} {words}"


def plural_of(noun: str, called: str) -> str:
    """The plural of a noun under one of its names; nouns that are not in the list are regular, and
    what is not counted stays as it is."""
    row = nouns().get(noun)
    if row is None:
        return regular_plural(called)
    return row.plural_of(called) or called


def _mend_articles(words: str) -> str:
    """ "a outlined fox" to "an outlined fox", wherever an article stands before a plain word."""
    return re.sub(r"\b(?:a|an) (\w+)", lambda found: _with_article(found.group(1)), words)


# While a caption grows, each thing's name stands between two characters of Unicode's private use.
_OPEN, _CLOSE = 0xE000, 0xE100


def _mark(number: int, name: str) -> str:
    return f"{chr(_OPEN + number)}{name}{chr(_CLOSE + number)}"


def _unmark(marked: str, things: int) -> Caption:
    words, starts, ends = "", {}, {}
    for character in marked:
        if _OPEN <= ord(character) < _CLOSE:
            starts[ord(character) - _OPEN] = len(words)
        elif _CLOSE <= ord(character) < _CLOSE + 0x100:
            ends[ord(character) - _CLOSE] = len(words)
        else:
            words += character
    spans = tuple((starts[i], ends[i]) if i in starts else None for i in range(things))
    return Caption(words, spans)


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
