"""Text encoders' tokenizers: from their files, or without one."""

from pathlib import Path
from typing import TYPE_CHECKING

from flux1.errors import WeightsError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(file: Path) -> "Tokenizer":
    """A `tokenizer.json`. WeightsError if it is none."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as failure:  # `tokenizers` raises bare Exception
        raise WeightsError(f"{file}: not a tokenizer: {_first_line(failure)}") from failure


def transformers_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """A folder of any of the library's tokenizers. WeightsError if it is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
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


def _first_line(failure: Exception) -> str:
    return (str(failure).splitlines() or [type(failure).__name__])[0]


def vocabulary_size(tokenizer: "Tokenizer | PreTrainedTokenizerBase") -> int:
    """Return how many words it knows, added ones too."""
    from tokenizers import Tokenizer

    return tokenizer.get_vocab_size() if isinstance(tokenizer, Tokenizer) else len(tokenizer)
