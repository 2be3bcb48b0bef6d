"""True pictures are read right, and pictures of something else are not.

`true-scenes.png` holds 24 composed scenes, three of each set in the lines of `true-scenes.jsonl`,
the first of a seed that nothing else uses. Their drawings are Microsoft's Fluent Emoji (MIT).
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from adherence.cases import SETS, Case
from adherence.judge import Judge
from adherence.measures import background_colour, object_colour, things
from adherence.parts import half
from adherence.reading import Reading, read

HERE = Path(__file__).parent
CASES = [
    TypeAdapter(Case).validate_json(line)
    for line in (HERE / "true-scenes.jsonl").read_text().splitlines()
]
SIDE = 128


@cache
def _judge() -> Judge:
    return Judge.open()


@cache
def _picture(number: int) -> Image.Image:
    row, column = divmod(number, 3)
    left, top = column * SIDE, row * SIDE
    with Image.open(HERE / "true-scenes.png") as sheet:
        return sheet.crop((left, top, left + SIDE, top + SIDE))


def _numbers(name: str) -> list[int]:
    return [number for number, case in enumerate(CASES) if case.name == name]


def _read(number: int, picture: Image.Image | None = None, **changes: object) -> Reading:
    case = CASES[number]
    case = replace(case, scene=replace(case.scene, **changes))
    return read(_picture(number) if picture is None else picture, case, _judge())


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("name", list(SETS))
def test_true_pictures_are_right_at_any_size(name: str, scale: int):
    side = scale * SIDE
    pictures = {n: _picture(n).resize((side, side)) for n in _numbers(name)}
    right = [_read(number, picture).right for number, picture in pictures.items()]
    assert right == [True, True, True]


@pytest.mark.parametrize("name", list(SETS))
def test_pictures_of_another_prompt_are_wrong(name: str):
    first, second, third = _numbers(name)
    for asked, shown in ((first, second), (second, third), (third, first)):
        assert not _read(asked, _picture(shown)).right


def test_two_objects_in_each_others_places_are_right_in_any_place_only():
    for number in _numbers("position"):
        relation = CASES[number].scene.relation
        shift = (0, SIDE // 2) if relation in ("left", "right") else (SIDE // 2, 0)
        turned = Image.fromarray(np.roll(np.asarray(_picture(number)), shift, axis=(0, 1)))
        reading = _read(number, turned)
        assert not reading.right
        assert reading.parts == {"both objects, any place": True, "at least one": True}


def test_two_objects_in_opposite_corners_are_both_there():
    number = _numbers("position")[1]
    assert CASES[number].scene.relation == "below"
    pieces = [half(_picture(number), place).crop for place in ("below", "above")]
    background = _picture(number).getpixel((0, 0))
    corners = Image.new("RGB", (SIDE, SIDE), background)
    for piece, corner in zip(pieces, ((0, 0), (SIDE // 2, SIDE // 2)), strict=True):
        small = piece.resize((56, 56))  # in the middle of its quarter, so that they do not touch
        corners.paste(small, (corner[0] + 4, corner[1] + 4))
    reading = _read(number, corners)
    assert not reading.right
    assert reading.parts["both objects, any place"]


def test_the_right_objects_in_each_others_colours_are_wrong():
    for number in _numbers("colour_attribution"):
        first, second = CASES[number].scene.things
        swapped = replace(first, colour=second.colour), replace(second, colour=first.colour)
        reading = _read(number, things=swapped)
        assert not reading.right
        assert reading.parts == {
            "both objects": True, "both colours": False, "colours swapped": True,
        }  # fmt: skip


def test_one_copy_more_is_wrong():
    for number in _numbers("counting"):
        copies = CASES[number].scene.things
        reading = _read(number, things=(*copies, copies[0]))
        assert not reading.right
        assert reading.parts == {"number of things": False, "most are it": True}


def test_another_colour_is_wrong_though_the_object_is_there():
    for number in _numbers("colours"):
        (thing,) = CASES[number].scene.things
        reading = _read(number, things=(replace(thing, colour="brown"),))
        assert reading.parts == {"object": True, "colour": False}
        assert not reading.right


def test_the_other_style_is_wrong():
    for number in _numbers("style"):
        reading = _read(number, style="glossy")
        assert reading.parts == {"object": True, "style": False}


def test_free_prompts_are_asked_for_all_that_they_say():
    number = _numbers("free")[0]
    (thing,) = CASES[number].scene.things
    assert (thing.noun, thing.colour) == ("television", "red")
    reading = _read(number, things=(replace(thing, colour="blue"),))
    assert not reading.right
    assert reading.parts == {"objects": True}


def test_rulers_on_drawn_shapes():
    pixels = np.full((96, 160, 3), (50, 110, 225), np.uint8)  # blue
    pixels[20:60, 10:50] = (220, 38, 38)  # red
    pixels[30:80, 100:140] = (250, 214, 50)  # yellow
    pixels[5:9, 80:84] = (28, 28, 32)  # a speck, too small to be a thing
    picture = Image.fromarray(pixels)
    assert background_colour(picture) == "blue"
    assert sorted(things(picture)) == [(10, 20, 50, 60), (100, 30, 140, 80)]
    assert object_colour(picture, (0, 0, 80, 96)) == "red"
    assert object_colour(picture, (80, 0, 160, 96)) == "yellow"
    assert object_colour(picture, (0, 0, 8, 8)) is None


def test_the_judges_file_says_how_far_to_trust_it(tmp_path: Path):
    judge = _judge()
    assert set(judge.trust) == set(SETS)
    for measures in judge.trust.values():
        right, total = measures["right"]
        assert 0.9 * total <= right <= total
    judge.save(judge.trust, tmp_path / "judge.safetensors")
    again = Judge.open(tmp_path / "judge.safetensors")
    assert again.trust == judge.trust
    assert again([_picture(0)]) == judge([_picture(0)])
