"""Text encoders' tokenizers: from their files, or without one.

The libraries that read the files believe them: a count of 2**47 extra words would be made. So the
sizes and numbers in them are looked at first.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flux1.errors import WeightsError
from flux1.weights.files.safetensors import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


MAX_BYTES = 64 * 2**20  # of a file; FLUX.1's have 2.4 MB at most
LARGEST_NUMBER = 10**6  # of a word's id, of words that are to be made
LONGEST_WORD = (
    1000  # letters; a trie of longer ones exhausts the stack of the library that reads it
)
LENGTH = "model_max_length"  # which has a number of 31 digits where there is no limit


def load_tokenizer(file: Path) -> "Tokenizer":
    """A `tokenizer.json`. WeightsError if it is none."""
    from tokenizers import Tokenizer

    _check_file(file)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as failure:  # `tokenizers` raises bare Exception
        raise WeightsError(f"{file}: not a tokenizer: {_first_line(failure)}") from failure


def transformers_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """A folder of any of the library's tokenizers. WeightsError if it is none."""
    from transformers import AutoTokenizer

    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        _check_file(file)
    try:
        found = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        found(["a"])
        if found.pad_token_id is None:
            raise ValueError("it has no token that fills the end of a text")
        return found
    except Exception as failure:  # so does what is built on it
        raise WeightsError(f"{folder}: not a tokenizer: {_first_line(failure)}") from failure


def byte_tokenizer() -> "Tokenizer":
    """[CLS], the bytes of the text, [SEP]: the frame of BERT's tokenizer over 256 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[CLS]", "[SEP]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return tokenizer


def _check_file(file: Path) -> None:
    """WeightsError for a file that is larger than any tokenizer's, or has a number beyond all that
    they have."""
    if not file.is_file():
        return
    if file.stat().st_size > MAX_BYTES:
        raise WeightsError(
            f"{file}: has {file.stat().st_size} bytes, no tokenizer's file is so large"
        )
    if file.suffix != ".json":
        return
    told = read_json(file)
    if any(len(word) > LONGEST_WORD for word in _words(told)):
        raise WeightsError(f"{file}: has a word of more than {LONGEST_WORD} letters")
    for key, number in _numbers(told):
        if key == LENGTH and not (isinstance(number, int | float) and number >= 1):
            raise WeightsError(f"{file}: {LENGTH} cannot be {number!r}")
        if key != LENGTH and isinstance(number, int) and abs(number) > LARGEST_NUMBER:
            raise WeightsError(f"{file}: {key or 'a number in it'} cannot be {number!r}")


def _numbers(told: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every number in a JSON file with its key ('' in a list), and whatever LENGTH is."""
    waiting: list[Any] = [told]
    while waiting:
        inner = waiting.pop()
        pairs = inner.items() if isinstance(inner, dict) else (("", one) for one in inner)
        for key, value in pairs:
            if key == LENGTH or isinstance(value, int | float):
                yield key, value
            elif isinstance(value, dict | list):
                waiting.append(value)


def _words(told: dict[str, Any]) -> Iterator[str]:
    """Every word that a tokenizer's file may mean: keys, members of lists, and contents."""
    waiting: list[Any] = [told]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            yield from inner
            inner = [
                value for key, value in inner.items()
                if key == "content" or isinstance(value, dict | list)
            ]  # fmt: skip
        for value in inner:
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict | list):
                waiting.append(value)


def _first_line(failure: Exception) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0]


def vocabulary_size(tokenizer: "Tokenizer | PreTrainedTokenizerBase") -> int:
    """Return how many words it knows, added ones too."""
    from tokenizers import Tokenizer

    return tokenizer.get_vocab_size() if isinstance(tokenizer, Tokenizer) else len(tokenizer)
