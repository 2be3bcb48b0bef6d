"""Checks of the ids and words that a stranger typed into an address, before a database sees it."""

import re

from flux1.server.problems import Problem, not_found

_ID = re.compile(r"[A-Za-z0-9_]{1,100}")
LONGEST_SEARCH = 200


def is_plain_id(text: str) -> bool:
    """Return whether this could be an id of ours."""
    return _ID.fullmatch(text) is not None


def plain_id(text: str) -> str:
    """An id that could be one of ours; what another one names is not here (Problem 404)."""
    if not is_plain_id(text):
        raise not_found("such thing here")
    return text


def plain_words(text: str) -> str:
    """Return the words that a list is searched for (Problem 400 for none that a database takes)."""
    if "\0" in text or len(text) > LONGEST_SEARCH:
        raise Problem(400, f"text: is not text of at most {LONGEST_SEARCH} characters",
                      "invalid_value", param="text")  # fmt: skip
    return text.strip()
