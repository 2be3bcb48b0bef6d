"""The prompts of a call: the words of the command line, and the lines of a file."""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from flux1.errors import RequestError


def read_prompts(words: Sequence[str], file: Path | None) -> list[str]:
    """The prompts of the command line, then those of `file`: a line each, '-' for standard input.

    RequestError if there are none, if the file cannot be read, and for words that look like one
    prompt without its quotes.
    """
    check_quotes(words)
    prompts = [*words, *([] if file is None else _lines(file))]
    if not prompts:
        where = "" if file is None else f"{file} holds none; "
        raise RequestError("prompt", f"{where}say what to draw, for example 'a red fox'")
    return prompts


def check_quotes(words: Sequence[str]) -> None:
    """RequestError where two prompts of a single word stand side by side: `a red fox` without
    quotes would be drawn as three pictures."""
    if any(one and two and not _spaced(one) and not _spaced(two) for one, two in pairwise(words)):
        sentence = " ".join(words)
        raise RequestError(
            "prompt",
            f"{len(words)} prompts, of single words: are quotes missing? One prompt is "
            f'"{sentence}"; prompts of one word are taken a line each from --prompts FILE',
        )


def _spaced(text: str) -> bool:
    return len(text.split()) > 1


def _lines(file: Path) -> list[str]:
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as failure:
        raise RequestError("prompts", f"cannot read {file}: {failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise RequestError("prompts", f"{file} is not UTF-8 text") from failure
    return [line.strip() for line in text.splitlines() if line.strip()]
