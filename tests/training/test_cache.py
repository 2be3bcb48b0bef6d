"""What is encoded once is read again, and only where it is still true."""

import numpy as np
import pytest
import torch
from PIL import Image

from flux1.errors import DataError
from flux1.pipeline.load import load
from flux1.training.finetune.cache import (
    Cache,
    RememberedText,
    encode_captions,
    encode_picture,
    read_tokens,
)
from flux1.training.finetune.dataset import read_examples
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.settings import Pictures
from flux1.training.objective import to_pixels
from flux1.weights.sources import locate
from training.folders import picture_folder

SIZE = (64, 48)


@pytest.fixture(scope="module")
def pipeline():
    return load(locate("tiny"), device="cpu", dtype="float32")


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", "abc")


@pytest.fixture
def example(tmp_path):
    folder = picture_folder(tmp_path / "data", 1)
    return read_examples(Pictures((folder,)), Remarks(), tmp_path)[0]


def test_latents_are_the_autoencoders_of_the_fitted_picture(pipeline, cache, example, tmp_path):
    assert not cache.has_latents(example.sha256, SIZE)
    assert encode_picture(cache, pipeline.autoencoder, example, SIZE)
    assert cache.has_latents(example.sha256, SIZE)
    tokens = read_tokens(cache.latents_file(example.sha256, SIZE))
    assert tokens.shape == (3 * 4, 64)
    whole = Image.open(tmp_path / "data" / "0.png").convert("RGB")
    middle = whole.resize(SIZE, Image.Resampling.LANCZOS, box=(0, 8, 64, 56))
    latents = pipeline.autoencoder.encode(to_pixels(np.array(middle)[None]))[0]
    patches = latents.unfold(1, 2, 2).unfold(2, 2, 2).permute(1, 2, 0, 3, 4).reshape(12, 64)
    torch.testing.assert_close(tokens.float(), patches, rtol=2e-3, atol=2e-3)


def test_a_key_depends_on_all_that_the_content_depends_on(cache, example):
    files = [
        cache.latents_file(example.sha256, SIZE),
        cache.latents_file(example.sha256, SIZE[::-1]),
        cache.latents_file(example.sha256[::-1], SIZE),
        Cache(cache.folder, "another model").latents_file(example.sha256, SIZE),
        cache.text_file("a fox"),
        cache.text_file("a  fox"),
        Cache(cache.folder, "another model").text_file("a fox"),
    ]
    assert len(set(files)) == len(files)
    assert cache.text_file("a fox") == Cache(cache.folder, "abc").text_file("a fox")


def test_captions_are_remembered_as_the_encoder_said_them(pipeline, cache):
    long = "word " * 60
    encode_captions(cache, pipeline.text, ["a fox", "", long])
    remembered = RememberedText(cache)
    for found, wanted in zip(
        remembered(["a fox", long]), pipeline.text(["a fox", long]), strict=True
    ):
        torch.testing.assert_close(found.txt, wanted.txt, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.pooled, wanted.pooled, rtol=1e-5, atol=1e-6)
        assert found.dropped == wanted.dropped
    assert remembered(["", long])[1].dropped
    assert remembered.count("a fox") == len(remembered(["a fox"])[0].txt)
    with pytest.raises(KeyError, match="not encoded: 'a cat'"):
        remembered(["a cat"])


def test_a_damaged_file_counts_as_none(pipeline, cache, example):
    encode_captions(cache, pipeline.text, ["a fox"])
    file = cache.text_file("a fox")
    file.write_bytes(file.read_bytes()[:-4])
    assert not cache.has_text("a fox")
    encode_captions(cache, pipeline.text, ["a fox"])
    assert cache.has_text("a fox")


def test_latents_that_are_not_finite_are_not_kept(cache, example):
    broken = load(locate("tiny"), device="cpu", dtype="float32").autoencoder
    broken.encoder.conv_out.bias.data[0] = torch.nan
    assert not encode_picture(cache, broken, example, SIZE)
    assert not cache.has_latents(example.sha256, SIZE)


def test_a_picture_that_ends_too_early_is_refused(pipeline, cache, example, tmp_path):
    file = tmp_path / "data" / "0.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError):
        encode_picture(cache, pipeline.autoencoder, example, SIZE)
    assert not cache.has_latents(example.sha256, SIZE)
