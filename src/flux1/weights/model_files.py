"""A model that can be loaded: its row, where its parts' files are, and a hash that names it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from flux1.errors import MissingWeightsError, WeightsError
from flux1.variants import FluxText, Variant
from flux1.weights.files.safetensors import MAX_HEADER, expected_files, read_json

MODEL_JSON = "model.json"
MODEL_FILES = (
    "transformer.safetensors",
    "autoencoder.safetensors",
    "text_encoder.safetensors",
    "tokenizer.json",
)
LORA_FILE = "lora.safetensors"
UNTOLD = (  # fields of configs and schedules that no tensor shows
    "end_token", "activation", "norm_eps", "farthest", "few", "many", "linear", "spacing",
)  # fmt: skip
SLICES, SLICE = 64, 4096  # what a model's hash reads of each file's data


@dataclass(frozen=True)
class FewSteps:
    """A LoRA that lets the transformer draw in few steps, and the guidance scale that it keeps: the
    transformer's file embeds guidance, the model that it becomes does not."""

    lora: Path
    guidance: float


@dataclass(frozen=True)
class Files:
    """The paths of a model's parts: a file each, or a folder of shards; parts may share a file.
    Text: CLIP, then T5."""

    transformer: Path
    autoencoder: Path
    text: tuple[Path, ...]
    tokenizers: tuple[Path, ...]
    few_steps: FewSteps | None = None


@dataclass(frozen=True)
class Source:
    """A model that can be loaded: its row, with the shapes that its files have, and the files.

    `root` is the folder that holds them, or the file that was named; both are None where the
    weights are random.
    """

    variant: Variant
    layout: Literal["flux1", "diffusers", "bfl", "file", "random"]
    root: Path | None
    files: Files | None

    @cached_property
    def model_hash(self) -> str:
        """Twelve hex digits that name these weights: a fingerprint, not a proof.

        The first digits of the sha256 over each weight file's part, name, size, header and 64
        evenly spread slices of 4 KiB, over the latents' shift and scale, and over what is unusual
        in the text encoders and the schedule. It costs megabytes, not 24 GB; it does not depend on
        the folder or the machine. Slices are read because models of equal shape ([dev] and Krea)
        have equal headers; a change that misses every slice goes unseen. Of random weights, it is
        over the shapes.
        """
        variant = self.variant
        digest = hashlib.sha256()
        if self.files is None:
            parts = (variant.transformer, variant.autoencoder, variant.text)
            shapes = [asdict(part) for part in parts]
            digest.update(json.dumps(shapes, sort_keys=True).encode())
            return digest.hexdigest()[:12]
        latents = variant.autoencoder
        digest.update(f"{latents.shift_factor} {latents.scale_factor}".encode())
        digest.update("".join(unusual(variant)).encode())
        paths = [self.files.transformer, self.files.autoencoder, *self.files.text]
        if self.files.few_steps is not None:
            digest.update(f"{self.files.few_steps.guidance}".encode())
            paths.append(self.files.few_steps.lora)
        for number, path in enumerate(paths):
            for file in expected_files(path):
                digest.update(f"{number} {file.name} {file.stat().st_size}".encode())
                digest.update(_sample(file))
        return digest.hexdigest()[:12]


def unusual(variant: Variant) -> list[str]:
    """What no tensor tells of the text encoders and the schedule, where it is not FLUX.1's own."""
    text = variant.text
    configs = (text.clip, text.t5) if isinstance(text, FluxText) else ()
    return [
        f"{name} {getattr(config, name)}\n"
        for config in (*configs, variant.schedule)
        for name in UNTOLD
        if hasattr(config, name) and getattr(config, name) != getattr(type(config), name)
    ]


def verify(source: Source) -> None:
    """WeightsError unless the files have the sha256 that their model.json says (other layouts say
    nothing)."""
    folder = source.root
    if source.layout != "flux1" or folder is None:
        return
    told = read_json(folder / MODEL_JSON).get("sha256")
    if not isinstance(told, dict):
        raise WeightsError(f"{folder / MODEL_JSON}: has no sha256 of its files")
    for name, file in vouched_for(source.files, folder).items():
        if told.get(name) != sha256(file):
            raise WeightsError(
                f"{file}: is not the file that {folder / MODEL_JSON} was written for"
            )


def files_of(folder: Path, few_steps: FewSteps | None = None) -> Files:
    """The parts in a folder as flux-mini ships."""
    transformer, autoencoder, text, words = (folder / name for name in MODEL_FILES)
    return Files(transformer, autoencoder, (text,), (words,), few_steps)


def vouched_for(files: Files | None, folder: Path) -> dict[str, Path]:
    """The files whose sha256 stands in a folder's model.json, by the names that they have there: of
    few steps, also those of the model in the folder beside."""
    if files is None or files.few_steps is None:
        return {name: folder / name for name in MODEL_FILES}
    base = files.transformer.parent
    beside = {f"{base.name}/{name}": base / name for name in MODEL_FILES}
    return {LORA_FILE: files.few_steps.lora, **beside}


def sha256(file: Path) -> str:
    """Hex digest of a whole file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require(folder: Path, missing: list[Path], repository: str | None) -> None:
    """MissingWeightsError, if anything is missing from `folder`, that says where to get it."""
    if missing:
        names = ", ".join(str(path.relative_to(folder)) for path in missing)
        raise MissingWeightsError(f"{folder}: missing {names}" + from_where(repository))


def from_where(repository: str | None) -> str:
    """'; get it from ...', of a model that has a page, else ''."""
    return f"; get it from https://huggingface.co/{repository}" if repository else ""


def _sample(file: Path) -> bytes:
    """The header of a weight file and slices of its data."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size, MAX_HEADER):  # not safetensors: the header's length is not told
            length = 2**20
        parts = [stream.read(length)]
        start = stream.tell()
        for i in range(SLICES):
            stream.seek(start + (size - start) * i // SLICES)
            parts.append(stream.read(SLICE))
    return b"".join(parts)
