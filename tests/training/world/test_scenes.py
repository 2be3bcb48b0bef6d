"""Scenes of the world are true: in their places, their pixels and their words."""

import dataclasses
import re

import numpy as np
import pytest
from pydantic import TypeAdapter

from flux1.training.mini.vocabulary import COLOUR_SYNONYMS
from flux1.training.mini.world.arrange import Shape
from flux1.training.mini.world.captions import NUMBERS, caption
from flux1.training.mini.world.compose import compose
from flux1.training.mini.world.held_out import HELD_OUT_COLOURS, HELD_OUT_PLACES, HELD_OUT_STYLES
from flux1.training.mini.world.nouns import nouns
from flux1.training.mini.world.places import Setting
from flux1.training.mini.world.places.words import (
    Words,
    light_words,
    place_words,
    weather_words,
)
from flux1.training.mini.world.sample import MARKED_STYLES, Sampler
from flux1.training.mini.world.scenes import Mixture, Scene, Thing
from flux1.training.mini.world.styles import STYLES

KINDS = tuple(Mixture().shares())


def only(kind: str) -> Mixture:
    return Mixture(**{name: float(name == kind) for name in KINDS})


def sampled(drawings, kind: str, count: int, width: int = 48, height: int = 48) -> list[Scene]:
    sampler = Sampler(drawings, only(kind), width, height)
    rng = np.random.default_rng(KINDS.index(kind))
    return [sampler.scene(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def scenes(drawings) -> dict[str, list[Scene]]:
    return {kind: sampled(drawings, kind, 16) for kind in KINDS}


def box(thing: Thing, drawings, shape: Shape) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of an unturned drawing, as fractions."""
    high, wide = drawings.named(thing.drawing).shape[:2]
    longer = max(high, wide)
    half_wide = thing.size * wide / longer / shape.wide / 2
    half_high = thing.size * high / longer / shape.tall / 2
    return (thing.x - half_wide, thing.y - half_high, thing.x + half_wide, thing.y + half_high)


def test_shares_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        Mixture(single=0.9)


def test_things_stand_where_the_relation_says(scenes, drawings):
    for scene in (*scenes["pair"], *scenes["painted"]):
        a, b = scene.things
        first = {"left": a.x < b.x, "right": a.x > b.x, "above": a.y < b.y, "below": a.y > b.y}
        assert first[scene.relation], scene
    for scene in scenes["triple"]:
        if scene.relation == "between":
            middle, one, other = (thing.x for thing in scene.things)
            assert min(one, other) < middle < max(one, other)


def test_things_beside_one_another_do_not_touch(scenes, drawings):
    shape = Shape.of(48, 48)
    for scene in (*scenes["pair"], *scenes["triple"], *scenes["count"]):
        boxes = [box(thing, drawings, shape) for thing in scene.things if not thing.turned]
        for i, (l1, t1, r1, b1) in enumerate(boxes):
            for l2, t2, r2, b2 in boxes[i + 1 :]:
                apart = r1 <= l2 + 1e-3 or r2 <= l1 + 1e-3 or b1 <= t2 + 1e-3 or b2 <= t1 + 1e-3
                assert apart, scene


@pytest.mark.parametrize("size", [(48, 48), (60, 36), (36, 60)])
def test_things_lie_inside_of_the_picture(drawings, size):
    shape = Shape.of(*size)
    for kind in ("single", "pair", "count"):
        for scene in sampled(drawings, kind, 10, *size):
            for thing in scene.things:
                left, top, right, bottom = box(thing, drawings, shape)
                assert min(left, top) > -0.02, scene
                assert max(right, bottom) < 1.02, scene


def test_counts_are_two_to_five_of_one_noun(scenes):
    numbers = {len(scene.things) for scene in scenes["count"]}
    assert numbers == {2, 3, 4, 5}
    for scene in scenes["count"]:
        assert len({thing.noun for thing in scene.things}) == 1


def test_seeds_have_something_to_choose(drawings):
    """Side, size, place and drawing all vary among scenes of one noun."""
    things = [scene.things[0] for scene in sampled(drawings, "single", 60)]
    assert {thing.mirrored for thing in things} == {True, False}
    assert max(t.size for t in things) - min(t.size for t in things) > 0.4
    assert np.std([thing.x for thing in things]) > 0.08
    assert sum(bool(thing.turned) for thing in things) > 5


def test_held_out_pairs_never_occur(scenes):
    for scene in (scene for kind in scenes.values() for scene in kind):
        for thing in scene.things:
            assert (thing.noun, thing.colour) not in HELD_OUT_COLOURS
            assert (thing.noun, scene.style) not in HELD_OUT_STYLES
            assert (thing.noun, scene.setting.place) not in HELD_OUT_PLACES


def test_a_scene_survives_being_written_down(scenes):
    form = TypeAdapter(Scene)
    for scene in (kind[0] for kind in scenes.values()):
        assert form.validate_json(form.dump_json(scene)) == scene


def test_pixels_are_a_pure_function_of_the_scene(scenes, drawings):
    scene = scenes["pair"][0]
    first, again = (compose(scene, drawings, 64, 48) for _ in range(2))
    assert first.shape == (48, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)


def test_a_thing_is_drawn_in_its_place_and_colour(drawings):
    """On white, in daylight: the drawing's own colour at its centre, the background elsewhere."""
    thing = Thing("fox", "fluent:fox", 0.25, 0.5, 0.4, "air")
    pixels = compose(Scene(Setting("plain", colours=("white",)), (thing,)), drawings, 64, 64)
    inside = drawings.named("fluent:fox")
    colour = inside[inside.shape[0] // 2, inside.shape[1] // 2, :3].astype(int)
    assert np.abs(pixels[32, 16].astype(int) - colour).max() <= 6
    assert pixels[32, 56].min() > 235


def test_a_mirrored_thing_is_its_mirror_image(drawings):
    half = np.zeros((20, 20, 4), np.uint8)
    half[:, :10] = (200, 40, 40, 255)
    half[:, 10:] = (40, 40, 200, 255)
    two = dataclasses.replace(
        drawings, rgba=[half], noun=("fox",), name=("fluent:fox",), style=("glossy 3D",),
        framing=("face",),
    )  # fmt: skip
    thing = Thing("fox", "fluent:fox", 0.5, 0.5, 0.5, "air")
    white = Setting("plain", colours=("white",))
    plain = compose(Scene(white, (thing,)), two, 64, 64)
    turned = compose(Scene(white, (dataclasses.replace(thing, mirrored=True),)), two, 64, 64)
    assert plain[32, 26, 0] > plain[32, 26, 2]
    assert turned[32, 26, 0] < turned[32, 26, 2]


def test_pixel_art_has_few_large_pixels(drawings):
    thing = Thing("fox", "fluent:fox", 0.5, 0.5, 0.9, "air")
    scene = Scene(Setting("plain", colours=("white",)), (thing,), "pixel art")
    row = compose(scene, drawings, 256, 256)[128].astype(int)
    steps = np.flatnonzero(np.abs(np.diff(row, axis=0)).max(axis=1) > 20)
    assert len(steps) <= 26
    assert (np.diff(steps) >= 7).all()


def test_captions_name_each_thing_where_the_spans_say(scenes):
    rng = np.random.default_rng(0)
    for scene in (scene for kind in scenes.values() for scene in kind):
        said = caption(scene, rng)
        assert len(said.spans) == len(scene.things)
        for number, thing in enumerate(scene.things):
            noun, name = nouns()[thing.noun], said.name(number)
            if name:
                names = {noun.name, noun.plural, *noun.synonyms}
                assert name in names or len(scene.things) > 1, (said.words, name)
        named = {scene.things[i].noun for i, span in enumerate(said.spans) if span is not None}
        assert named == {thing.noun for thing in scene.things}, said.words


def test_captions_say_number_and_colour(scenes):
    rng = np.random.default_rng(1)
    for scene in scenes["count"]:
        words = caption(scene, rng).words.lower()
        number = len(scene.things)
        assert re.search(rf"\b({number}|{NUMBERS[number]})\b", words), words
    for scene in scenes["coloured"]:
        colour = scene.things[0].colour
        words = caption(scene, rng).words
        assert any(name in words.lower() for name in (colour, *COLOUR_SYNONYMS[colour])), words


def says(known: Words, words: str) -> bool:
    return any(name.lower() in words for name in (*known.nouns, *known.phrases))


def test_captions_say_the_place_and_what_is_special_about_its_light(scenes):
    rng = np.random.default_rng(2)
    for scene in scenes["empty"]:
        setting, words = scene.setting, caption(scene, rng).words.lower()
        place, light, weather = (of(setting) for of in (place_words, light_words, weather_words))
        if not setting.colours:
            assert says(place, words), words
        if setting.light != "day" and light.nouns:
            assert says(light, words), words
        if setting.weather != "clear":
            assert says(weather, words), words


def test_only_marked_styles_are_always_said(scenes):
    rng, said = np.random.default_rng(3), {True: [], False: []}
    for scene in (*scenes["single"], *scenes["pair"], *scenes["coloured"]):
        if scene.style is not None:
            words = caption(scene, rng).words.lower()
            named = any(name in words for name in STYLES[scene.style].words)
            said[scene.style in MARKED_STYLES].append(named)
    assert all(said[True])
    assert 0.2 < np.mean(said[False]) < 0.8


def test_captions_read_as_english(scenes):
    rng = np.random.default_rng(4)
    for scene in (scene for kind in scenes.values() for scene in kind):
        words = caption(scene, rng).words
        assert not re.search(r"  |\{|\}| ,|\ba [aeio]\w|,,", words), words
        assert words.isprintable(), words


def test_a_synonym_has_its_own_grammar():
    """Bread is not counted, a loaf of bread is."""
    scene = Scene(Setting("plain", colours=("white",)), (Thing("bread", "", 0.5, 0.5, 0.4, "air"),))
    rng, said = np.random.default_rng(5), set()
    for _ in range(300):
        made = caption(scene, rng)
        start, _ = made.spans[0]
        said.add((made.name(0), made.words[max(0, start - 2) : start] == "a "))
    assert {("bread", False), ("loaf of bread", True)} <= said
    assert ("bread", True) not in said
