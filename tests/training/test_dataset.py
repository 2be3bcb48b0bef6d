"""Folders as people have them: what is learnt from, and what is said of the rest."""

import json
from pathlib import Path

import pytest
from PIL import Image

from flux1.errors import DataError
from flux1.training.finetune.dataset import read_examples
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.settings import Pictures


def draw(path: Path, colour="red", size=(64, 64), words: str | None = None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    if words is not None:
        path.with_suffix(".txt").write_text(words)


def read(folder, **options):
    remarks = Remarks()
    return read_examples(Pictures((folder,), **options), remarks, folder / ".cache"), list(remarks)


def test_captions_lie_beside_the_pictures(tmp_path):
    draw(tmp_path / "b.png", "blue", words="  a blue square\n")
    draw(tmp_path / "in" / "a.JPG", "red", words="a red square")
    examples, said = read(tmp_path)
    assert [(e.name, e.caption) for e in examples] == [
        ("b.png", "a blue square"), ("in/a.JPG", "a red square"),
    ]  # fmt: skip
    assert said == []
    assert examples[0].read() == (tmp_path / "b.png").read_bytes()


def test_captions_stand_in_metadata(tmp_path):
    draw(tmp_path / "a.png", "blue")
    draw(tmp_path / "in" / "b.png", "red", words="unused")
    rows = [
        {"file_name": "a.png", "text": "first"},
        {"file_name": "in/b.png", "text": "second"},
        {"file_name": "a.png", "text": "again"},
        {"file_name": "gone.png", "text": "third"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    examples, said = read(tmp_path)
    assert [e.caption for e in examples] == ["first", "second"]
    assert said == [
        "1 captioned twice in metadata.jsonl, the first counts: a.png",
        "1 captions of no picture: gone.png (metadata.jsonl)",
        "1 captioned twice, metadata.jsonl counts: in/b.png",
    ]


def test_a_captions_own_line_ends_do_not_cut_its_row(tmp_path):
    draw(tmp_path / "a.png")
    row = json.dumps({"file_name": "a.png", "text": "one\u2028two\x85three"}, ensure_ascii=False)
    (tmp_path / "metadata.jsonl").write_bytes(row.encode() + b"\r\n")
    examples, said = read(tmp_path)
    assert [e.caption for e in examples] == ["one\u2028two\x85three"]
    assert said == []


def test_half_a_character_is_no_text(tmp_path):
    draw(tmp_path / "a.png", "red")
    draw(tmp_path / "b.png", "blue", words="whole")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a fox \\ud83e"}')
    examples, said = read(tmp_path)
    assert [e.name for e in examples] == ["b.png"]
    assert said == ["1 with half a character in their caption, left out: a.png"]


def test_everything_that_is_wrong_is_named_and_counted_and_the_rest_is_kept(tmp_path):
    draw(tmp_path / "good.png", "red", words="good")
    draw(tmp_path / "silent-1.png", "blue")
    draw(tmp_path / "silent-2.png", "green")
    draw(tmp_path / "empty.png", "yellow", words=" \n")
    draw(tmp_path / "twin.jpg", "pink", words="twin")
    draw(tmp_path / "twin.png", "brown")
    draw(tmp_path / "copy.png", "red", words="good")
    (tmp_path / "copy.png").write_bytes((tmp_path / "good.png").read_bytes())
    (tmp_path / "alone.txt").write_text("nobody")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "broken.txt").write_text("broken")
    (tmp_path / "photo.heic").write_bytes(b"x")
    draw(tmp_path / "latin.png", "orange")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    examples, said = read(tmp_path)
    assert [e.name for e in examples] == ["copy.png", "twin.jpg"]
    assert sorted(said) == [
        "1 captions of no picture: alone.txt",
        "1 not a kind of picture that is read, left out: photo.heic",
        "1 of the same name as another, whose caption file it is, left out: twin.png (as twin.jpg)",
        "1 the same as another, left out: good.png (as copy.png)",
        "1 unreadable, left out: broken.png (not a picture)",
        "1 whose caption cannot be read, left out: latin.png (latin.txt: not UTF-8 text)",
        "1 with an empty caption, left out: empty.png",
        "2 with no caption, left out: silent-1.png, silent-2.png",
    ]


def test_a_caption_for_pictures_without_one(tmp_path):
    draw(tmp_path / "a.png", "red")
    draw(tmp_path / "b.png", "blue", words="its own")
    examples, said = read(tmp_path, caption="a zorb")
    assert [e.caption for e in examples] == ["a zorb", "its own"]
    assert said == []


def test_captions_have_the_suffixes_of_all_trainers(tmp_path):
    for name in ("a", "b", "c", "d", "e", "f"):
        draw(tmp_path / f"{name}.png", (ord(name), 0, 0))
    (tmp_path / "a.caption").write_text("by .caption")
    (tmp_path / "b.TXT").write_text("by .TXT")
    (tmp_path / "c.json").write_text('{"caption": "by .json", "tags": "x"}')
    (tmp_path / "d.json").write_text('"by a string"')
    (tmp_path / "e.json").write_text('{"tags": "x"}')
    (tmp_path / "f.txt").write_text("by .txt")
    (tmp_path / "f.caption").write_text("unused")
    (tmp_path / "alone.caption").write_text("nobody")
    examples, said = read(tmp_path, caption="never instead of what cannot be read")
    assert [(e.name, e.caption) for e in examples] == [
        ("a.png", "by .caption"), ("b.png", "by .TXT"), ("c.png", "by .json"),
        ("d.png", "by a string"), ("f.png", "by .txt"),
    ]  # fmt: skip
    assert said == [
        "1 captions of no picture: alone.caption",
        "1 whose caption cannot be read, left out: e.png (e.json: no 'text' or 'caption' that is "
        "text)",
        "1 captioned twice, .txt counts: f.png",
    ]


def test_masks_are_not_learnt_as_pictures(tmp_path):
    draw(tmp_path / "a.png", words="a square")
    draw(tmp_path / "a-masklabel.png", "white")
    draw(tmp_path / "b-masklabel.png", "blue", words="the mask of nothing is a picture")
    examples, said = read(tmp_path, caption="anything")
    assert [e.name for e in examples] == ["a.png", "b-masklabel.png"]
    assert said == ["1 masks of other pictures, not used and left out: a-masklabel.png"]


def test_a_folders_name_says_how_often_and_what(tmp_path):
    draw(tmp_path / "10_zorb toy" / "a.png", "red")
    draw(tmp_path / "10_zorb toy" / "b.png", "blue", words="its own")
    draw(tmp_path / "1_cat" / "c.png", "green", words="a cat")
    draw(tmp_path / "2024_summer" / "d.png", "pink", words="a year")
    examples, said = read(tmp_path)
    assert [(e.caption, e.repeats) for e in examples] == [
        ("zorb toy", 10), ("its own", 10), ("a cat", 1), ("a year", 1),
    ]  # fmt: skip
    assert sorted(said) == [
        "1 with no caption, their folder's words are taken: 10_zorb toy/a.png (zorb toy)",
        "2 shown 10 times as often, as their folder's name says: 10_zorb toy/a.png, "
        "10_zorb toy/b.png",
    ]


def test_the_trigger_word_is_in_every_caption_once(tmp_path):
    draw(tmp_path / "a.png", "red", words="a square")
    draw(tmp_path / "b.png", "blue", words="a [trigger] on a table")
    draw(tmp_path / "c.png", "green", words="a zorb, green")
    examples, _ = read(tmp_path, trigger="zorb")
    assert [e.caption for e in examples] == ["zorb, a square", "a zorb on a table", "a zorb, green"]


def test_links_are_followed_and_what_is_not_read_is_said(tmp_path):
    data, other = tmp_path / "data", tmp_path / "other"
    draw(other / "b.png", "blue", words="b")
    draw(data / "a.png", "red", words="a")
    draw(data / ".thumbs" / "a.png", "pink")
    (data / "linked").symlink_to(other)
    (data / "round").symlink_to(data)
    (data / "gone.png").symlink_to(tmp_path / "nowhere.png")
    examples, said = read(data)
    assert [e.name for e in examples] == ["a.png", "linked/b.png"]
    assert sorted(said) == [
        "1 hidden folders with pictures, left out: .thumbs",
        "1 links to a folder that is read already, left out: round",
        "1 links to nothing, left out: gone.png",
    ]


def test_several_folders_are_all_read(tmp_path):
    for name, colour in (("one", "red"), ("two", "blue")):
        draw(tmp_path / name / "a.png", colour, words=name)
    folders = (tmp_path / "one", tmp_path / "two")
    examples = read_examples(Pictures(folders), Remarks(), tmp_path / ".cache")
    assert [(e.name, e.caption) for e in examples] == [
        (f"{tmp_path}/one/a.png", "one"), (f"{tmp_path}/two/a.png", "two"),
    ]  # fmt: skip


def test_many_names_are_cut_short_but_counted(tmp_path):
    for i in range(9):
        draw(tmp_path / f"{i}.png", (i, 0, 0))
    draw(tmp_path / "x.png", words="x")
    _, said = read(tmp_path)
    assert said == ["9 with no caption, left out: 0.png, 1.png, 2.png, 3.png, 4.png and 4 more"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: None, "it holds no picture"),
        (lambda d: draw(d / "a.png"), "1 with no caption, left out: a.png; --caption"),
        (lambda d: (d / "metadata.jsonl").write_text("{}\n"), "line 1: not an object with a file"),
        (
            lambda d: (d / "metadata.jsonl").write_text('{"file_name": "a", "text": 3}'),
            "line 1: text: 3 is not text",
        ),
        (
            lambda d: (d / "metadata.jsonl").write_bytes(b'{"file_name": "caf\xe9.png"}'),
            "metadata.jsonl: is not UTF-8 text",
        ),
    ],
)
def test_a_folder_that_teaches_nothing_is_one_line(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        read(tmp_path / "nowhere")


@pytest.fixture
def rows(tmp_path):
    datasets = pytest.importorskip("datasets")
    draw(tmp_path / "src" / "a.png", "red")
    draw(tmp_path / "src" / "b.png", "blue")
    files = [str(tmp_path / "src" / name) for name in ("a.png", "b.png")]
    columns = {"image": files, "words": ["a red square", "a blue square"]}
    return datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())


@pytest.mark.parametrize("kind", ["saved", "split", "parquet"])
def test_a_hugging_face_data_set_is_read(rows, tmp_path, kind):
    import datasets

    place = tmp_path / kind
    if kind == "saved":
        rows.save_to_disk(str(place))
    elif kind == "split":
        datasets.DatasetDict({"train": rows}).save_to_disk(str(place))
    else:
        place.mkdir()
        rows.to_parquet(str(place / "train-00000-of-00001.parquet"))
    examples, said = read(place, column="words")
    assert [(e.name, e.caption) for e in examples] == [
        ("row 0", "a red square"), ("row 1", "a blue square"),
    ]  # fmt: skip
    assert examples[0].read() == (tmp_path / "src" / "a.png").read_bytes()
    assert said == []
    with pytest.raises(DataError, match="no column 'text', it has image, words; --caption-column"):
        read(place)


def test_a_data_set_that_is_damaged_is_one_line(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot be read as a data set"):
        read(tmp_path)
