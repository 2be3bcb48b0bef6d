"""The sentence encoder's lessons: which words a code stands on, and what the loss is."""

import numpy as np
import pytest
import torch
from rich.console import Console

from flux1.training.loop import LoopSettings, train
from flux1.training.mini.grounding import CODE_NORM, GroundingObjective, directions
from flux1.training.mini.lessons import CODE_SIZE, SpriteLessons, codes, in_first_names
from flux1.training.mini.scenes import Scene, Thing, caption, sample_scene
from flux1.training.mini.synonyms import SYNONYMS
from flux1.training.mini.vocabulary import plural
from flux1.training.mini.worlds import Caption
from flux1.variants import FLUX_MINI, TINY
from flux1.weights.load import load_model, random_text
from flux1.weights.sources import locate


@pytest.fixture(scope="module")
def tokenizer():
    return load_model(locate(FLUX_MINI), torch.float32, torch.device("cpu")).text["bert"].tokenizer


@pytest.fixture
def objective(tokenizer):
    return GroundingObjective(
        random_text(TINY.text, 0)["bert"].network,
        tokenizer,
        SpriteLessons(),
        16,
        0,
        32,
        code_weight=0.2,
    )


@pytest.mark.parametrize("relation", [None, "left", "right", "above", "below"])
def test_spans_are_the_names_of_the_things(relation):
    rng = np.random.default_rng(1)
    seen = 0
    for _ in range(2000):
        scene = sample_scene(rng)
        if scene.relation != relation:
            continue
        said = caption(scene, rng)
        named = [said.words[start:end] for start, end in said.spans]
        things = scene.things if relation is not None else scene.things[:1]
        assert len(named) == len(things)
        for name, thing in zip(named, things, strict=True):
            known = {thing.noun, *SYNONYMS.get(thing.noun, ())}
            assert name in known | {plural(one) for one in known}, said
        seen += 1
    assert seen > 50


def test_a_code_is_the_place_and_the_colour():
    fox, tree = Thing("fox", 0.5, 0.74, 0.5, "white"), Thing("tree", 0.5, 0.26, 0.5)
    told = codes(Scene((fox, tree), "blue", "glossy", "below"))
    assert told[:, :2].tolist() == [[0, 1], [0, -1]]  # y grows downwards
    assert told[0, 2] == 1
    assert (told[0, 3:6] > 0.8).all()
    assert not told[0, 6:].any()
    assert not told[1, 2:].any()


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_code_is_the_number(count):
    told = codes(Scene((Thing("fox", 0.5, 0.5, 0.3),) * count, "blue", "glossy"))
    assert not told[:, :6].any()
    assert told[:, 6:].tolist() == [[i == count - 2 for i in range(4)]] * count


PUP, TABBY, BUNNY = (Thing(noun, 0.5, 0.5, 0.5) for noun in ("dog", "cat", "rabbit"))


@pytest.mark.parametrize(("words", "spans", "scene", "first"), [
    ("left of a tabby, a pup", ((19, 22), (10, 15)),
     Scene((PUP, TABBY), "red", "flat", "right"), "left of a cat, a dog"),
    ("three bunnies!", ((6, 13),), Scene((BUNNY,) * 3, "red", "flat"), "three rabbits!"),
    ("a red pup", ((6, 9),), Scene((PUP,), "red", "flat"), "a red dog"),
])  # fmt: skip
def test_first_names(words, spans, scene, first):
    said = in_first_names(Caption(words, spans), scene)
    assert said.words == first
    nouns = [said.name(number) for number in range(len(spans))]
    assert [noun.removesuffix("s") for noun in nouns] == [
        thing.noun for thing in scene.things[: len(spans)]
    ]


def test_a_synonym_is_taught_the_state_of_the_first_name(objective):
    batch = objective._encode([Scene((BUNNY,), "red", "glossy")] * 40, np.random.default_rng(0))
    own, first = objective._own(batch), objective.teacher(batch.first_ids, batch.first_ids > 0)
    bunny, rabbit = map(objective.tokenizer.token_to_id, ("bunny", "rabbit"))
    at = [
        (row, tokens.index(bunny))
        for row, tokens in enumerate(batch.ids.tolist())
        if bunny in tokens and rabbit not in tokens
    ]
    assert at
    for row, place in at:
        there = batch.first_ids[row].tolist().index(rabbit)
        assert torch.equal(own[row, place], first.states[row, there])


def test_directions_are_orthogonal_and_of_the_stated_length():
    d = directions(32, SpriteLessons.parts, seed=0)
    assert torch.allclose(d @ d.T, CODE_NORM**2 * torch.eye(CODE_SIZE), atol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_codes_stand_on_the_tokens_of_the_names_alone(objective, seed):
    scene = Scene((Thing("teddy bear", 0.3, 0.5, 0.5), Thing("cat", 0.7, 0.5, 0.5)), "red",
                  "glossy", "left")  # fmt: skip
    said = caption(scene, np.random.default_rng(seed))
    batch = objective._encode([scene], np.random.default_rng(seed))
    coded = {-1: [], 1: []}
    for token, row in zip(batch.ids[0].tolist(), batch.codes[0], strict=True):
        if row.any():
            coded[int(row[0])].append(token)
    spelt = {place: objective.tokenizer.decode(tokens) for place, tokens in coded.items()}
    assert spelt == {-1: said.name(0), 1: said.name(1)}


def test_before_it_learns_the_whole_code_is_missed(objective):
    things = (Thing("apple", 0.3, 0.5, 0.5, "blue"), Thing("carrot", 0.7, 0.5, 0.5))  # no synonyms
    scene = Scene(things, "red", "glossy", "left")
    batch = objective._encode([scene] * 4, np.random.default_rng(0))
    loss, figures = objective.loss(batch, torch.Generator())
    wanted = batch.codes[batch.mask]
    apart = (wanted @ objective._directions).square().mean().item()
    assert figures == pytest.approx({"states": apart, "code_missed": 1.0}, rel=1e-4)
    assert loss.item() == pytest.approx(apart + 0.2 * wanted.square().mean().item(), rel=1e-4)


def test_it_learns_a_batch_by_heart_and_leaves_the_word_embeddings(objective, tmp_path):
    before = {k: v.clone() for k, v in objective.model.state_dict().items()}
    lesson = objective.batch(0)
    objective.batch = lambda step: lesson
    settings = LoopSettings(
        steps=150, batch_size=16, learning_rate=1e-2, matrix_learning_rate=2e-2, warmup_steps=0,
        ema_decay=0.5, log_every=150,
    )  # fmt: skip
    taught = train(objective, settings, tmp_path, Console(quiet=True))
    _, figures = objective.loss(lesson, torch.Generator())
    assert figures["code_missed"] < 0.5
    after = taught.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("embeddings" in name for name in changed)
    assert (tmp_path / "preview-000150.png").stat().st_size > 1000
