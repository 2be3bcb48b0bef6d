"""Everything that can go wrong in a way the caller can mend. One line each; no torch, no HTTP."""

import difflib
from collections.abc import Iterable

LONGEST_LINE = 2000  # letters of a message; names and values come from foreign files


class Flux1Error(Exception):
    """Base of the family. `str(error)` is the public message: one clear line, whatever names and
    values from foreign files are in it."""

    code = "error"

    def __str__(self) -> str:
        line = printable(" ".join(super().__str__().split()))
        if len(line) > LONGEST_LINE:
            half = LONGEST_LINE // 2 - 5
            line = f"{line[:half]} ... {line[-half:]}"
        return line


def printable(text: str) -> str:
    """A text with its control characters spelled out (`\\x1b`): it stays on its line, and does not
    steer the terminal that shows it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


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
    """A library of an optional part is not installed. The message ends in the line that installs
    it, which works in a clone: the package is on no index."""

    code = "dependency_missing"

    def __init__(self, needed_by: str, library: str | None, extra: str | None) -> None:
        """`extra` is the row of `[project.optional-dependencies]` that brings the library; None for
        what an installation without extras has."""
        what = "." if extra is None else f"'.[{extra}]'"
        super().__init__(
            f"{needed_by} needs {library}, which is not installed; "
            f"in a clone of flux1: pip install -c constraints.txt {what}"
        )


class OverloadedError(Flux1Error):
    """There is more work than can be done in time. `retry_after` is in seconds."""

    code = "server_is_overloaded"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoppingError(OverloadedError):
    """The service stops before the picture is done; another start takes requests soon."""

    code = "shutting_down"

    def __init__(self) -> None:
        super().__init__("the server is stopping; ask again in a moment", 5.0)


class QuotaError(Flux1Error):
    """A caller would use more than it may. `retry_after` in seconds; None: not before tomorrow."""

    def __init__(self, message: str, code: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code, self.retry_after = code, retry_after


class CancelledError(Flux1Error):
    """Whoever asked for the picture does not want it any more, or the service is stopping."""

    code = "cancelled"


class DeadlineError(Flux1Error):
    """The picture could not be ready when it was wanted."""

    code = "deadline_exceeded"


class EngineError(Flux1Error):
    """Drawing failed for a reason that lies in the machine or the model, not in the request."""

    code = "engine_failed"


class BlockedError(Flux1Error):
    """The words or the picture are against the operator's policy. `categories` names why, `stage`
    what was looked at, `job_id` the request's row."""

    code = "moderation_blocked"

    def __init__(
        self, message: str, categories: tuple[str, ...], stage: str, job_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.categories, self.stage, self.job_id = categories, stage, job_id


class AccountError(Flux1Error):
    """Registration or log-in data cannot be accepted. `field` is what is wrong."""

    code = "account"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class KeyRefusedError(Flux1Error):
    """An API key that does not open anything: unknown, expired, revoked, or its account is off."""

    code = "invalid_api_key"


class SettingsError(Flux1Error):
    """A setting, or a file that a setting names, cannot be used."""

    code = "settings"


class StoreError(Flux1Error):
    """The database or the picture store cannot be used as configured."""

    code = "store"


def nearest(word: object, known: Iterable[str]) -> str:
    """' (did you mean X?)' when something known is close to `word`, else ''. A word of more than
    100 characters is close to nothing: comparing would take as long as it is long."""
    if len(str(word)) > 100:
        return ""
    close = difflib.get_close_matches(str(word).lower(), list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
