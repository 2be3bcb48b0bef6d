"""What picture files are called: filled in, counted on, never taken from another picture."""

import pytest

from flux1.cli.picture_names import picture_files
from flux1.errors import OutputError


def names(folder, output, seeds, overwrite=False):
    return [file.name for file in picture_files(folder / output, seeds, overwrite)]


@pytest.mark.parametrize(
    ("there", "output", "seeds", "written"),
    [
        ([], "a.png", [5], ["a.png"]),
        ([], "a.png", [5, 6], ["a-0.png", "a-1.png"]),
        ([], "{seed}.png", [5, 6], ["5.png", "6.png"]),
        ([], "{seed}.png", [5, 5], ["5-0.png", "5-1.png"]),
        ([], "{n} {seed}.png", [5, 5], ["0 5.png", "1 5.png"]),
        (["a.png"], "a.png", [5], ["a-1.png"]),
        (["a.png", "a-1.png"], "a.png", [5], ["a-2.png"]),
        (["a-0.png", "a-2.png"], "a.png", [5, 6], ["a-3.png", "a-4.png"]),
        (["5.png"], "{seed}.png", [5], ["5-1.png"]),
        (["0.png"], "{n}.png", [5], ["1.png"]),
    ],
)
def test_a_name_that_is_taken_gets_the_next_number(there, output, seeds, written, tmp_path):
    for name in there:
        (tmp_path / name).touch()
    assert names(tmp_path, output, seeds) == written


@pytest.mark.parametrize(
    ("output", "seeds", "written"),
    [("a.png", [5], ["a.png"]), ("a.png", [5, 6], ["a-0.png", "a-1.png"]),
     ("{n}.png", [5], ["0.png"])],
)  # fmt: skip
def test_overwrite_takes_the_names_that_would_be_there_in_an_empty_folder(
    output, seeds, written, tmp_path
):
    for name in written:
        (tmp_path / name).touch()
    assert names(tmp_path, output, seeds, overwrite=True) == written


def test_braces_of_a_folder_are_its_own_and_others_are_refused(tmp_path):
    assert picture_files(tmp_path / "{x}" / "a.png", [1]) == [tmp_path / "{x}" / "a.png"]
    with pytest.raises(OutputError, match=r"output: \{sed\} in 'a-\{sed\}.png' is none of"):
        picture_files(tmp_path / "a-{sed}.png", [1])
