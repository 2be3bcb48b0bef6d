"""Everything that can go wrong in a way the caller can mend. One line each; no torch, no HTTP."""

import difflib
from collections.abc import Iterable


class Flux1Error(Exception):
    """Base of the family. `str(error)` is the public message: one clear line."""

    code = "error"


class RequestError(Flux1Error):
    """A field of a request cannot be honoured as asked."""

    code = "invalid_request"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class UnknownModelError(Flux1Error):
    """No model of that name, and no such path."""

    code = "model_not_found"


class MissingWeightsError(Flux1Error):
    """The model is known, its files are not on this machine."""

    code = "weights_missing"


class WeightsError(Flux1Error):
    """A weight file is damaged, of another layout, or of another model."""

    code = "weights_invalid"


class OutputError(Flux1Error):
    """The picture cannot be written, or a file holds no readable recipe."""

    code = "output"


class DataError(Flux1Error):
    """Training data is missing or unusable."""

    code = "data"


class DependencyError(Flux1Error):
    """An optional part is not installed."""

    code = "dependency_missing"


def nearest(word: object, known: Iterable[str]) -> str:
    """' (did you mean X?)' when something known is close to `word`, else ''."""
    close = difflib.get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
