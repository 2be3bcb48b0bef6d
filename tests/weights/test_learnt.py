"""What lies beside weights about their training: read as it was written, damage named."""

import json

import pytest

from flux1.errors import WeightsError
from flux1.weights.sources import locate
from worded import WORDS, make_worded


@pytest.fixture(scope="module")
def worded(tmp_path_factory):
    return make_worded(tmp_path_factory.mktemp("worded") / "tiny")


def test_words_and_sizes_come_back(worded):
    row = locate(worded).variant
    assert row.words == WORDS
    assert row.trained_sizes == ((64, 64), (96, 64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "words.json: Invalid JSON"),
        ('{"nouns": ["fox"]}', "words.json: nouns.0: Input should be a valid array"),
        ('{"nouns": [[]]}', "words.json: nouns has an entry without a name"),
    ],
)
def test_a_damaged_list_is_one_line(worded, text, message):
    file = worded / "words.json"
    whole = file.read_text()
    file.write_text(text)
    try:
        with pytest.raises(WeightsError) as failure:
            locate(worded)
    finally:
        file.write_text(whole)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("sizes", [["64"], [64], "64x64", [["64x64"]]])
def test_sizes_that_are_none_are_refused(worded, sizes):
    file = worded / "model.json"
    whole = file.read_text()
    file.write_text(json.dumps(json.loads(whole) | {"sizes": sizes}))
    try:
        with pytest.raises(WeightsError, match="sizes must be a list such as"):
            locate(worded)
    finally:
        file.write_text(whole)
