"""Any weight file to named tensors, by what its first bytes say, not by its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flux1.errors import MissingWeightsError, WeightsError
from flux1.weights.files import pickles
from flux1.weights.files.gguf import MAGIC, GgufTensors
from flux1.weights.files.lazy import StoredTensors
from flux1.weights.files.mapped import MappedFile
from flux1.weights.files.pickles import PickleTensors
from flux1.weights.files.safetensors import FileTensors

SUFFIXES = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")


def open_tensors(path: Path) -> StoredTensors:
    """The tensors of a safetensors, GGUF or pickle file, or of a folder of safetensors shards, with
    the file's own names and quantisation.

    Only headers are read. MissingWeightsError: no such file; WeightsError: damaged, or refused.
    """
    if path.is_dir():
        return FileTensors(path)
    if not path.is_file():
        if path.exists():
            raise WeightsError(f"{path}: is neither a file nor a folder")
        raise MissingWeightsError(f"missing {path}")
    opened = MappedFile(path)
    start = opened.read(0, 4)
    if not start:
        raise WeightsError(f"{path}: is empty; download it again")
    if start == MAGIC:
        return GgufTensors(path, opened)
    if start == pickles.ZIP or start[:2] in pickles.OLD:
        return PickleTensors(path)
    return FileTensors(path, opened)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Say in a WeightsError which file, folder or tensor it is about."""
    try:
        yield
    except WeightsError as failure:
        if str(path) in str(failure):
            raise
        raise WeightsError(f"{path}: {failure}") from failure
