"""Reads what the weights in a folder were trained on: their words, and the sizes of their
pictures."""

import re
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from flux1.errors import WeightsError
from flux1.weights.files.safetensors import read_json
from flux1.weights.model_files import MODEL_JSON
from flux1.words import SECTIONS, Vocabulary

WORDS_JSON = "words.json"
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


def read_words(folder: Path) -> Vocabulary | None:
    """The list beside the weights, None if there is none. WeightsError if it is damaged."""
    file = folder / WORDS_JSON
    try:
        words = TypeAdapter(Vocabulary).validate_json(file.read_bytes(), strict=True)
    except FileNotFoundError:
        return None
    except ValidationError as failure:
        first = failure.errors()[0]
        listed = [*([".".join(map(str, first["loc"]))] if first["loc"] else []), first["msg"]]
        raise WeightsError(f"{file}: {': '.join(listed)}") from failure
    for section in SECTIONS:
        if not all(getattr(words, section)):
            raise WeightsError(f"{file}: {section} has an entry without a name")
    return words


def trained_sizes(folder: Path) -> tuple[tuple[int, int], ...]:
    """`sizes` of a model.json ("256x256"): width and height; none if it does not say."""
    listed = read_json(folder / MODEL_JSON).get("sizes", [])
    found = [_SIZE.fullmatch(str(size)) for size in listed] if isinstance(listed, list) else [None]
    sizes = tuple((int(size[1]), int(size[2])) for size in found if size)
    if len(sizes) < len(found):
        raise WeightsError(f"{folder / MODEL_JSON}: sizes must be a list such as ['256x256']")
    return sizes
