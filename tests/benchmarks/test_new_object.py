"""What is counted as a zorb is one: in true pictures it is found where it stands, elsewhere not."""

import numpy as np
import pytest
from PIL import Image

from adherence.judge import Judge
from flux1.training.mini.vocabulary import COLOURS, NOUNS
from new_object import FOUND, SCENES, ZORB, Scene, judged, look_for_zorb

RGB = {colour.name: colour.rgb for colour in COLOURS}


def drawn(colour, box, side=128):
    canvas = Image.new("RGB", (side, side), RGB[colour])
    left, top, width = box
    zorb = ZORB["drawing"]().resize((width, width))
    canvas.paste(zorb, (left, top), zorb)
    return canvas


@pytest.mark.parametrize("box", [(5, 10, 50), (60, 40, 60), (20, 20, 90)])
def test_a_zorb_is_found_where_it_stands(box):
    sight = look_for_zorb(drawn("gray", box))
    left, top, width = box
    assert sight.correlation > 0.9
    assert abs(sight.x - (left + width / 2) / 128) < 0.05
    assert abs(sight.y - (top + width / 2) / 128) < 0.05
    assert sight.stands("left") is (left + width / 2 < 64)


def test_what_is_no_zorb_is_not_found():
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert look_for_zorb(Image.new("RGB", (128, 128), "red")).correlation < FOUND
    assert look_for_zorb(Image.fromarray(noise)).correlation < FOUND
    turned = drawn("white", (20, 20, 80)).rotate(180)
    assert look_for_zorb(turned).correlation < FOUND


def test_the_background_counts():
    judge, picture = Judge.open(), drawn("purple", (20, 20, 80))
    assert judged(Scene("purple"), picture, judge)["right"]
    assert not judged(Scene("brown"), picture, judge)["right"]


def test_scenes_ask_for_what_can_be_judged():
    assert {scene.other for scene in SCENES} - {None} <= set(NOUNS)
    assert {scene.colour for scene in SCENES} <= set(RGB)
    beside = Scene("orange", "below", "umbrella")
    assert beside.prompt == "a zorb below an umbrella on an orange background"
    assert {scene.kind for scene in SCENES} == {
        "seen background", "new background", "beside a thing",
    }  # fmt: skip
