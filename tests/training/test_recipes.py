"""A whole recipe at tiny size, from drawings to a model that draws; and what a bad one says."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from flux1 import FluxPipeline, variants
from flux1.errors import DataError, WeightsError
from flux1.flow.path import velocity
from flux1.pipeline.load import load
from flux1.training.mini import make as making
from flux1.training.mini import recipes, worlds_of_recipes
from flux1.training.mini.data import Buckets, EncodedScenes
from flux1.training.mini.make import make
from flux1.training.mini.rectified_flow import RectifiedFlowObjective
from flux1.training.mini.scenes import SpriteWorld
from flux1.training.mini.vocabulary import NOUNS
from flux1.variants import TINY
from flux1.weights.load import random_text

TOML = """
name = "small"
variant = "tiny"
picture_size = 64
seed = 0
[autoencoder]
crop_size = 32
[autoencoder.loop]
steps = 2
batch_size = 2
learning_rate = 1e-3
matrix_learning_rate = 1e-3
[[transformer]]
scenes = { "64x64" = 24 }
[transformer.loop]
steps = 3
batch_size = 4
learning_rate = 1e-3
matrix_learning_rate = 1e-3
precision = "bfloat16"
[[transformer]]
scenes = { "64x64" = 25, "32x64" = 10 }
mixture = { single = 0, coloured = 0, pair = 1, count = 0 }
[transformer.loop]
steps = 3
batch_size = 4
learning_rate = 1e-3
matrix_learning_rate = 1e-3
"""
SILENT, CPU = Console(quiet=True), torch.device("cpu")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(TOML)
    return recipes.read_recipe(str(path))


@pytest.fixture
def offline(monkeypatch):
    """The text encoder that a recipe would download: here one of the tiny variant's shape."""
    parts = random_text(TINY.text, 0)["bert"]
    monkeypatch.setattr(making, "fetch_sentence_model", lambda folder, config: parts)


def start(folder, sprites):
    folder.mkdir()
    np.savez(folder / "sprites.npz", nouns=np.array(NOUNS), **sprites.rgba)
    return folder


def test_a_recipe_ends_in_a_folder_that_draws(recipe, offline, sprites, tmp_path):
    folder = start(tmp_path / "run", sprites)
    model = make(recipe, folder, SILENT, CPU)
    drawn = FluxPipeline.from_pretrained(model)("a fox", seed=0, steps=2).images[0]
    assert drawn.size == (64, 64)
    assert (folder / "transformer-1" / "preview-000003.png").exists()
    before = (model / "transformer.safetensors").read_bytes()
    again = make(recipe, folder, SILENT, CPU)  # nothing left to do: the same file
    assert (again / "transformer.safetensors").read_bytes() == before


def test_a_transformer_run_in_two_parts_is_the_run_in_one(recipe, offline, sprites, tmp_path):
    whole = make(recipe, start(tmp_path / "whole", sprites), SILENT, CPU)
    cut, loop = start(tmp_path / "cut", sprites), recipe.transformer[-1].loop
    stops = iter([False, True])
    original = making.train

    def interrupted(objective, settings, folder, console):
        stop = (lambda: next(stops)) if settings == loop else (lambda: False)
        return original(objective, settings, folder, console, stop)

    making.train = interrupted
    try:
        make(recipe, cut, SILENT, CPU)
    finally:
        making.train = original
    resumed = make(recipe, cut, SILENT, CPU)
    name = "transformer.safetensors"
    assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_the_loss_of_a_perfect_network_is_zero_and_dropout_empties_captions(
    recipe, offline, sprites, tmp_path
):
    folder = start(tmp_path / "run", sprites)
    model = make(recipe, folder, SILENT, CPU)
    text = FluxPipeline.from_pretrained(model).text
    scenes = EncodedScenes.open(folder / "scenes-1" / "64x64", (4, 4), SpriteWorld(sprites))
    assert len(scenes) == 24
    kept = scenes.batch(0, 8, seed=0, caption_dropout=0.0, text=text)
    dropped = scenes.batch(0, 8, seed=0, caption_dropout=1.0, text=text)
    assert torch.equal(kept.tokens, dropped.tokens)
    nothing = text([""])[0].txt.expand_as(dropped.txt)
    assert torch.allclose(dropped.txt, nothing, atol=1e-5)
    assert not torch.equal(kept.txt, dropped.txt)
    seen = torch.cat([scenes.batch(i, 8, 0, 0.0, text).tokens for i in range(3)])
    assert len({row.sum().item() for row in seen}) == 24  # an epoch shows every scene once
    pairs = EncodedScenes.open(folder / "scenes-2" / "32x64", (4, 2), SpriteWorld(sprites))
    assert all(scene.relation is not None for scene in pairs.scenes)

    objective = RectifiedFlowObjective(load(model), Buckets((scenes,), 128), ("a fox",), 0)
    noise = torch.randn(kept.tokens.shape, generator=torch.Generator().manual_seed(3))
    perfect = velocity(kept.tokens, noise)
    objective._velocity = lambda x, t, batch: perfect
    loss, _ = objective.loss(kept, torch.Generator().manual_seed(3))
    assert loss.item() == 0
    objective._velocity = lambda x, t, batch: torch.zeros_like(x)
    loss, _ = objective.loss(kept, torch.Generator().manual_seed(3))
    assert loss.item() == pytest.approx(perfect.square().mean().item(), rel=1e-5)


def test_buckets_give_batches_of_one_size_with_equal_tokens_in_turn(sprites):
    world = SpriteWorld(sprites)
    scene = world.sample(np.random.default_rng(0), (64, 64))

    def part(count, grid):
        tokens = torch.zeros(count, grid[0] * grid[1], 64)
        return EncodedScenes((scene,) * count, tokens, grid, world)

    buckets = Buckets((part(40, (4, 4)), part(20, (4, 8))), batch_tokens=64)
    text = FluxPipeline.from_pretrained("tiny").text
    grids = []
    for step in range(60):
        batch = buckets.batch(step, 0, 0.1, text)
        assert batch.tokens.shape[0] * batch.tokens.shape[1] == 64
        assert batch.tokens.shape[1] == batch.grid[0] * batch.grid[1]
        grids.append(batch.grid)
    assert grids == [buckets.batch(step, 0, 0.1, text).grid for step in range(60)]
    assert 20 <= grids.count((4, 8)) <= 40  # 10 batches of each size: every second one


DISTILLED = """
[guidance_distillation]
teacher = "tiny-teacher"
[guidance_distillation.loop]
steps = 3
batch_size = 4
learning_rate = 1e-3
matrix_learning_rate = 1e-3
[step_distillation]
student = "tiny-schnell"
guidance = 2.5
rank = 2
alpha = 4
[step_distillation.loop]
steps = 3
batch_size = 2
learning_rate = 1e-2
matrix_learning_rate = 1e-2
"""


def test_a_recipe_that_distils_ends_in_three_folders_that_draw(
    offline, sprites, tmp_path, monkeypatch
):
    told = dataclasses.replace(TINY.transformer, guidance_embed=False)
    untold = variants.Defaults(width=64, height=64, steps=4, guidance=None)
    ladder = [
        dataclasses.replace(TINY, id=name, transformer=told, defaults=untold)
        for name in ("tiny-teacher", "tiny-schnell")
    ]
    monkeypatch.setattr(variants, "VARIANTS", (*variants.VARIANTS, *ladder))
    path = tmp_path / "small.toml"
    path.write_text(TOML + DISTILLED)
    folder = start(tmp_path / "run", sprites)
    model = make(recipes.read_recipe(str(path)), folder, SILENT, CPU)
    assert model == folder / "tiny"
    teacher, student, schnell = (
        FluxPipeline.from_pretrained(folder / name)
        for name in ("tiny-teacher", "tiny", "tiny-schnell")
    )
    assert not teacher.variant.transformer.guidance_embed
    assert student.variant.transformer.guidance_embed
    assert schnell.variant.id == "tiny-schnell"
    assert len({p.origin.model_hash for p in (teacher, student, schnell)}) == 3
    for pipeline in (teacher, student, schnell):
        assert pipeline("a fox", seed=0, steps=2).images[0].size == (64, 64)
    plain = student.transformer.at_guidance(2.5).state_dict()
    few = schnell.transformer.state_dict()
    assert torch.equal(few["txt_in.weight"], plain["txt_in.weight"])  # not among its layers
    assert not torch.equal(few["img_in.weight"], plain["img_in.weight"])

    (model / "transformer.safetensors").write_bytes(b"another")
    with pytest.raises(WeightsError, match=r"is not the file that .*tiny-schnell"):
        FluxPipeline.from_pretrained(folder / "tiny-schnell")


def test_steps_are_distilled_of_a_network_that_is_told_the_guidance(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(TOML + DISTILLED[DISTILLED.index("[step_dist") :])
    with pytest.raises(DataError, match="needs a \\[guidance_distillation\\]"):
        recipes.read_recipe(str(path))


def test_a_folder_begun_with_another_recipe_is_refused(recipe, offline, sprites, tmp_path):
    folder = start(tmp_path / "run", sprites)
    make(recipe, folder, SILENT, CPU)
    with pytest.raises(DataError, match="begun with another seed"):
        make(dataclasses.replace(recipe, seed=1), folder, SILENT, CPU)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("= 24 }", "= 2 }", "transformer.0.scenes: 64x64: 2 is less than one batch of 4"),
        ("scenes =", "secnes =", "transformer.0.secnes"),
        ('"32x64"', '"32x60"', "32x60: sides must be multiples of 16"),
        ('"32x64"', '"32"', "String should match pattern"),
        ('"32x64" = 10', '"32x64" = 7', "32x64: 7 is less than one batch of 8"),
        ("picture_size = 64", "picture_size = 50", "picture_size: 50 is not a multiple of 16"),
        ("steps = 3", "steps = 0", "transformer.0.loop.steps: Input should be greater than 0"),
        ('variant = "tiny"', 'variant = "flux-dev"', "has no sentence encoder"),
        ("[[transformer]]", "[[transformer", "is not TOML"),
        ("pair = 1", "pair = 0.5", "transformer.1.mixture: "),
    ],
)
def test_a_bad_recipe_is_one_line_that_names_the_key(tmp_path, old, new, words):
    path = tmp_path / "bad.toml"
    path.write_text(TOML.replace(old, new))
    with pytest.raises(DataError) as caught:
        make(recipes.read_recipe(str(path)), tmp_path / "run", SILENT, CPU)
    assert words in str(caught.value)


def test_the_projects_own_recipes_are_valid():
    assert "flux-mini" in recipes.recipe_names()
    for name in recipes.recipe_names():
        assert recipes.read_recipe(name).name == name


def test_a_recipe_of_the_world_of_scenes_draws_too(offline, drawings, tmp_path, monkeypatch):
    """The other world by its name: its own mixtures, its own words beside the weights."""
    text = TOML.replace('name = "small"', 'name = "small"\nworld = "scenes"').replace(
        "{ single = 0, coloured = 0, pair = 1, count = 0 }",
        "{ empty = 1, single = 0, coloured = 0, pair = 0, painted = 0, count = 0, triple = 0, "
        "layered = 0, motif = 0 }",
    )
    path = tmp_path / "scenes.toml"
    path.write_text(text)
    row = worlds_of_recipes.WORLDS["scenes"]
    offline_row = dataclasses.replace(row, prepare=lambda path: None, open=lambda path: drawings)
    monkeypatch.setitem(worlds_of_recipes.WORLDS, "scenes", offline_row)
    recipe = recipes.read_recipe(str(path))
    model = make(recipe, tmp_path / "run", SILENT, CPU)
    pipeline = FluxPipeline.from_pretrained(model)
    drawn = pipeline("a city at sunset", seed=0, steps=2)
    assert drawn.images[0].size == (64, 64)
    words = json.loads((model / "words.json").read_text())
    assert {"city", "beach"} <= {entry[0] for entry in words["places"]}
    empty = (tmp_path / "run" / "scenes-2" / "64x64" / "scenes.jsonl").read_text().splitlines()
    assert all("things" not in json.loads(line) for line in empty)


@pytest.mark.parametrize(("old", "new", "said"), [
    ('seed = 0', 'seed = 0\nworld = "sceens"', "no world 'sceens'.*scenes"),
    ("single = 0,", "single = 0, layered = 0.1,", "mixture.*layered"),
    ("pair = 1", "pair = 0.5", "add up to 1"),
])  # fmt: skip
def test_a_bad_world_or_mixture_is_named(old, new, said, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(TOML.replace(old, new, 1))
    with pytest.raises(DataError, match=said):
        recipes.read_recipe(str(path))
