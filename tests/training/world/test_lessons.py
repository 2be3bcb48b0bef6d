"""What the sentence encoder is taught of the world's scenes, and the world as a recipe takes it."""

import numpy as np
import pytest

from flux1.training.mini.world.lessons import SceneLessons
from flux1.training.mini.world.places import Setting
from flux1.training.mini.world.scenes import LAYERS, Mixture, Scene, Thing
from flux1.training.mini.world.world import SceneWorld
from flux1.training.mini.worlds import Caption, World

WHITE = Setting("plain", colours=("white",))


def thing(noun: str, colour: str | None = None) -> Thing:
    return Thing(noun, "fluent:fox", 0.5, 0.5, 0.4, "air", colour)


@pytest.fixture(scope="module")
def lessons(drawings) -> SceneLessons:
    return SceneLessons(drawings)


def test_a_code_is_the_place_and_the_colour(lessons):
    told = lessons.codes(Scene(WHITE, (thing("fox", "white"), thing("tree")), relation="below"))
    assert told[:, :2].tolist() == [[0, 1], [0, -1]]  # y grows downwards
    assert told[0, 2] == 1
    assert (told[0, 3:6] > 0.8).all()
    assert not told[0, 6:].any()
    assert not told[1, 2:].any()


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_code_is_the_number(lessons, count):
    told = lessons.codes(Scene(WHITE, (thing("fox"),) * count))
    assert not told[:, :6].any()
    assert told[:, 6:10].tolist() == [[i == count - 2 for i in range(4)]] * count


@pytest.mark.parametrize("relation", [name for name in LAYERS if name != "between"])
def test_a_code_is_the_part_in_a_layered_relation(lessons, relation):
    first, second = lessons.codes(Scene(WHITE, (thing("cat"), thing("box")), relation=relation))
    assert first[10:].tolist() == [float(name == relation) for name in LAYERS]
    assert second[10:].tolist() == [-float(name == relation) for name in LAYERS]


def test_three_in_a_row_stand_from_left_to_right(lessons):
    row = lessons.codes(Scene(WHITE, (thing("cat"), thing("box"), thing("tree"))))
    assert row[:, :2].tolist() == [[-1, 0], [0, 0], [1, 0]]


@pytest.mark.parametrize(("words", "spans", "scene", "first"), [
    ("left of a kitty, a pup", ((19, 22), (10, 15)),
     Scene(WHITE, (thing("dog"), thing("cat")), relation="right"), "left of a cat, a dog"),
    ("three bunnies!", ((6, 13),) * 3, Scene(WHITE, (thing("rabbit"),) * 3), "three rabbits!"),
])  # fmt: skip
def test_first_names(lessons, words, spans, scene, first):
    if len(set(spans)) == 1:
        spans = (spans[0], *(None for _ in spans[1:]))
    assert lessons.first_names(Caption(words, spans), scene).words == first


def test_random_names_can_be_described_and_keep_their_copies_together(lessons):
    rng = np.random.default_rng(0)
    names = iter("abcdefghijklmnopqrstuvwxyz" * 40)
    for _ in range(40):
        scene = lessons.renamed(lessons.scene(rng), lambda: f"blorp{next(names)}")
        said = lessons.caption(scene, rng)
        called = [said.name(i) for i, span in enumerate(said.spans) if span is not None]
        assert called
        assert all(name.startswith("blorp") for name in called), said
        assert len(lessons.codes(scene)) == len(scene.things)


def test_a_recipe_takes_the_world(drawings):
    """Scenes survive being written down, and give the same pixels and words afterwards."""
    world = SceneWorld(drawings, Mixture())
    assert isinstance(world, World)
    rng = np.random.default_rng(3)
    for _ in range(12):
        scene = world.sample(rng, (48, 48))
        line = world.to_json(scene)
        assert "\n" not in line
        again = world.from_json(line)
        assert again == scene
        first, second = (world.picture(s, (48, 48), rng) for s in (scene, again))
        assert np.array_equal(first, second)
        assert isinstance(world.caption(again, rng), Caption)
