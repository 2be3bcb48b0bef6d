"""Drawings are rendered to their ink, kept in one file, and found by noun, style and framing."""

import numpy as np
import pytest

from flux1.errors import DataError
from flux1.training.mini.world.drawings import Drawings, draw, own_icons, save_drawings
from flux1.training.mini.world.nouns import all_nouns

RECTANGLE = '<path fill="#f00" d="M4 8h16v8H4z"/>'


def icons(body: str) -> dict:
    return {"prefix": "test", "width": 24, "height": 24, "icons": {"thing": {"body": body}}}


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """A file of all drawings, each a small picture that tells its place in the alphabet."""
    path = tmp_path_factory.mktemp("drawings") / "drawings.npz"
    names = sorted({name for noun in all_nouns().values() for name, _ in noun.drawings})
    pictures = {
        name: np.full((1 + i % 3, 2, 4), [i % 256, i // 256, 0, 255], np.uint8)
        for i, name in enumerate(names)
    }
    save_drawings(path, pictures)
    return pictures, path, Drawings.open(path)


def test_a_drawing_is_trimmed_to_its_ink_and_keeps_its_shape():
    picture = draw(icons(RECTANGLE), "thing", side=64)
    height, width, _ = picture.shape
    assert width == 64
    assert abs(height - 32) <= 1  # the ink is 2:1, and its edge may fill half a pixel
    assert (picture[4:-4, 4:-4] == [255, 0, 0, 255]).all()


def test_a_line_icon_is_drawn_black_on_white():
    body = (
        '<path fill="#2F88FF" stroke="#000" stroke-width="4" d="M4 4h40v40H4z"/>'
        '<path stroke="#fff" stroke-width="4" d="M10 24h28"/>'
    )
    picture = draw({**icons(body), "width": 48, "height": 48}, "thing", side=44)
    assert (picture[22, 22, :3] < 30).all()
    assert (picture[8:16, 8:36, :3] > 225).all()


def test_an_unknown_and_an_empty_icon_are_named():
    with pytest.raises(DataError, match="the set test has no icon 'cat'"):
        draw(icons(RECTANGLE), "cat")
    with pytest.raises(DataError, match="'thing' of the set test is empty"):
        draw(icons('<path fill="none" d="M4 8h16v8H4z"/>'), "thing")


def test_the_own_drawings_are_those_that_the_nouns_name():
    own = own_icons()["icons"]
    named = {
        name.partition(":")[2]
        for noun in all_nouns().values()
        for name, _ in noun.drawings
        if name.startswith(("own:", "inked:"))
    }
    assert named <= set(own)
    assert len(named) >= 0.95 * len(own)


def test_an_inked_drawing_is_the_flat_one_with_dark_lines():
    flat, inked = (draw(own_icons(inked), "table-1", side=96)[..., :3] for inked in (False, True))
    dark = [(np.abs(picture.astype(int) - (0x33, 0x33, 0x3A)).max(axis=-1) < 8).mean()
            for picture in (flat, inked)]  # fmt: skip
    assert dark[0] < 0.01 < 0.05 < dark[1]


def test_what_was_saved_is_opened_pixel_for_pixel(drawings):
    pictures, path, opened = drawings
    assert not path.with_suffix(".partial.npz").exists()
    assert len(opened.rgba) == sum(len(noun.drawings) for noun in all_nouns().values())
    for name, picture in zip(opened.name, opened.rgba, strict=True):
        assert (picture == pictures[name]).all()


def test_drawings_are_found_by_noun_style_and_framing(drawings):
    opened = drawings[2]
    assert [opened.name[i] for i in opened.of("cat")] == [n for n, _ in all_nouns()["cat"].drawings]
    assert {opened.style[i] for i in opened.of("cat", style="flat")} == {"flat"}
    assert {opened.framing[i] for i in opened.of("woman", framing="face")} == {"face"}
    assert opened.of("baby", framing="whole") == []
    with pytest.raises(DataError, match="no drawing of 'zorb'"):
        opened.of("zorb")


def test_a_file_of_another_list_and_a_missing_one_are_refused(drawings, tmp_path):
    _, path, _ = drawings
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["catalogue"] = arrays["catalogue"][::-1]
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(DataError, match="made for another list"):
        Drawings.open(tmp_path / "other.npz")
    with pytest.raises(DataError, match="no drawings at"):
        Drawings.open(tmp_path / "none.npz")
