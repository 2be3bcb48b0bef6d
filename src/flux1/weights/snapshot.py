"""A few files of a Hugging Face repository: those in its cache, else downloaded. No torch."""

from collections.abc import Sequence
from pathlib import Path

from flux1.errors import MissingWeightsError


def find_snapshot(
    repository: str,
    always: Sequence[str],
    either: Sequence[str],
    revision: str | None = None,
    cache: Path | None = None,
) -> Path:
    """The folder that holds `always`, and of `either` the first that the repository has.

    What lies in the cache (by default where that library keeps it) is taken as it is, without a
    look at the network. Else these files are downloaded to it, and no others. MissingWeightsError,
    in one line: no such repository, revision or file, or it cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder = Path()
    for cached in (True, False):
        for one in either:
            wanted = [*always, one]
            try:
                found = snapshot_download(
                    repository,
                    revision=revision,
                    cache_dir=cache,
                    allow_patterns=wanted,
                    local_files_only=cached,
                )
            except Exception as failure:  # the library's own share no other base
                if cached and isinstance(failure, LocalEntryNotFoundError):
                    continue
                name = f"{repository}@{revision}" if revision else repository
                raise MissingWeightsError(f"{name} {_reason(failure)}") from failure
            folder = Path(found)
            if all((folder / file).is_file() for file in wanted):
                return folder
    missing = [file for file in always if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in either):
        missing.append(" or ".join(either))
    raise MissingWeightsError(f"{repository} has no {', no '.join(missing)}")


def _reason(failure: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match failure:
        case GatedRepoError():
            return "is given only to those who are logged in and were let in (`hf auth login`)"
        case RepositoryNotFoundError():
            return "is no repository of Hugging Face, or a private one"
        case RevisionNotFoundError():
            return "is no revision that Hugging Face has"
        case LocalEntryNotFoundError():
            return "is not (or not whole) in Hugging Face's cache, and that site is out of reach"
        case _:
            return "cannot be had from Hugging Face: " + " ".join(str(failure).split())
