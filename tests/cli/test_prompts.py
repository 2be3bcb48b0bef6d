"""Several prompts in a call, and one whose quotes were forgotten."""

import pytest

from flux1.cli.prompts import read_prompts
from flux1.errors import RequestError


@pytest.mark.parametrize(
    "words", [["fox"], ["a fox", "a cat"], ["a red fox", "cat"], ["cat", "a red fox", "dog"]]
)
def test_prompts_are_taken_as_they_stand(words):
    assert read_prompts(words, None) == words


@pytest.mark.parametrize(
    "words", [["a", "fox"], ["a", "red", "fox"], ["a red fox", "in", "the", "snow"]]
)
def test_words_side_by_side_are_a_prompt_without_quotes(words):
    with pytest.raises(RequestError) as refused:
        read_prompts(words, None)
    assert f'One prompt is "{" ".join(words)}"' in str(refused.value)
    assert "--prompts FILE" in str(refused.value)


def test_a_file_holds_a_prompt_a_line_of_one_word_too(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("fox\n\ncat\r\n", encoding="utf-8")
    assert read_prompts(["a dog"], file) == ["a dog", "fox", "cat"]


@pytest.mark.parametrize(("content", "said"), [(b"\n \n", "holds none"), (b"\xff", "not UTF-8")])
def test_a_file_without_prompts_is_refused(content, said, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes(content)
    with pytest.raises(RequestError, match=said):
        read_prompts([], file)
