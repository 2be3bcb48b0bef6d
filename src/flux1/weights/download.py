"""A published model from Hugging Face: the files that are needed, and whether they are what the
site says. The layout is diffusers' folder, because each of its parts tells its own shape. No torch.
"""

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from flux1.errors import MissingWeightsError, OutputError, RequestError, WeightsError
from flux1.variants import Variant
from flux1.weights.files.disk import check_room
from flux1.weights.kinds.family import last_part

NEEDED = (
    "model_index.json",
    "LICENSE*",
    "scheduler/*.json",
    *(
        f"{part}/{files}"
        for part in ("transformer", "vae", "text_encoder", "text_encoder_2")
        for files in ("config.json", "*.safetensors", "*.safetensors.index.json")
    ),
    "tokenizer/*",
    "tokenizer_2/*",
)
TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its size in bytes, its hash there (sha256 of what is large, git's
    sha1 of the rest), and whether it is on this machine."""

    path: str
    size: int
    digest: str
    large: bool
    present: bool


@dataclass(frozen=True)
class Download:
    """A download that is planned: `folder` is where to, None for Hugging Face's cache."""

    variant: Variant
    repository: str
    commit: str
    folder: Path | None
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def missing_bytes(self) -> int:
        """The bytes of the files that are not here yet."""
        return sum(file.size for file in self.files if not file.present)

    def fetch(self, show: bool = True) -> Path:
        """Fetch what is missing and check every file; what an earlier try finished stays. `show`:
        with the library's progress bars.

        Returns the folder. MissingWeightsError: the site cannot be reached, or refuses;
        WeightsError: a file is not what the site has (it is removed, to be fetched again).
        """
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import disable_progress_bars

        if not show:
            disable_progress_bars()
        try:
            found = snapshot_download(
                self.repository,
                local_dir=self.folder,
                allow_patterns=[file.path for file in self.files],
            )
        except Exception as failure:  # the library's own share no other base
            reason = _reason(failure, self.repository)
            raise MissingWeightsError(
                f"{reason}; what was fetched is kept: run it again to go on"
            ) from failure
        folder = Path(found)
        for file in self.files:
            _verify(folder / file.path, file)
        return folder


def plan_download(variant: Variant, models: Path | None = None) -> Download:
    """Plan a download: what a variant needs, how large it is, and what of it is here. It goes into
    `models/<id>` (or under its repository's name, if that folder is there), else into Hugging
    Face's cache.

    RequestError: nothing to fetch. MissingWeightsError, in one line: no access, and what to do
    about it, or no network. OutputError: the disk is too full.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE

    if variant.repository is None:
        why = "ships with this package" if variant.weights == "shipped" else "is drawn at random"
        raise RequestError("model", f"{variant.id} {why}: there is nothing to download")
    folder = _folder(variant, models)
    api = HfApi()
    try:
        api.auth_check(variant.repository)
        commit = str(api.repo_info(variant.repository).sha)
        listed = list(api.list_repo_tree(variant.repository, recursive=True, revision=commit))
    except Exception as failure:  # as above
        raise MissingWeightsError(_reason(failure, variant.repository)) from failure
    files = []
    for entry in listed:
        size = getattr(entry, "size", None)  # a folder has none
        if size is None or not any(fnmatch(entry.path, pattern) for pattern in NEEDED):
            continue
        lfs = getattr(entry, "lfs", None)
        files.append(
            RemoteFile(
                path=entry.path,
                size=size,
                digest=lfs.sha256 if lfs else str(getattr(entry, "blob_id", "")),
                large=lfs is not None,
                present=_present(variant.repository, commit, folder, entry.path, size),
            )
        )
    plan = Download(variant, variant.repository, commit, folder, tuple(files))
    check_room((folder or Path(HF_HUB_CACHE)) / "x", plan.missing_bytes)
    return plan


def _folder(variant: Variant, models: Path | None) -> Path | None:
    if models is None:
        return None
    usual, other = models / variant.id, models / last_part(variant)
    folder = other if other.is_dir() and not usual.is_dir() else usual
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; the model needs a folder of that name")
    return folder


def _present(repository: str, commit: str, folder: Path | None, path: str, size: int) -> bool:
    from huggingface_hub import try_to_load_from_cache

    if folder is None:
        return isinstance(try_to_load_from_cache(repository, path, revision=commit), str)
    return (folder / path).is_file() and (folder / path).stat().st_size == size


def _verify(path: Path, file: RemoteFile) -> None:
    """WeightsError unless the file's hash is the site's."""
    if not path.is_file():
        raise MissingWeightsError(f"{path}: did not arrive; run it again")
    with path.open("rb") as stream:
        if file.large:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        else:
            content = stream.read()
            found = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if found != file.digest:
        path.resolve().unlink()
        raise WeightsError(
            f"{path}: is not the file that the site has, and was removed; run it again"
        )


def _reason(failure: Exception, repository: str) -> str:
    """One line on what went wrong and what to do about it."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    page = f"https://huggingface.co/{repository}"
    words = " ".join(str(failure).split())
    match failure:
        case GatedRepoError():
            return _gated(repository, page, words)
        case RepositoryNotFoundError():
            return (
                f"{repository} is not found, or your token is not valid: see {page}, and log in "
                "with `hf auth login`"
            )
        case HfHubHTTPError() if failure.response.status_code == 401:
            return f"{repository}: your token is not valid: log in again with `hf auth login`"
        case OfflineModeIsEnabled():
            return f"{repository}: HF_HUB_OFFLINE forbids the network; unset it to download"
        case HfHubHTTPError():
            return f"{repository}: the site answered {failure.response.status_code}; try later"
        case _:
            return (
                f"{repository} cannot be had from Hugging Face: {words or type(failure).__name__}"
            )


def _gated(repository: str, page: str, words: str) -> str:
    """The line on a repository that the user may not read yet."""
    from huggingface_hub import get_token

    if get_token() is None:
        return (
            f"{repository} asks for its licence to be accepted: do so at {page}, "
            "then log in with `hf auth login`"
        )
    if "fine-grained" in words.lower():
        return (
            f"{repository}: your token may not read gated repositories: allow it at {TOKENS}, "
            "or log in with another (`hf auth login`)"
        )
    return (
        f"{repository}: your account has not accepted its licence, or was not let in yet: "
        f"see {page}"
    )
