"""A model that can be loaded: its row, where its parts' files are, and a hash that names it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from flux1.errors import MissingWeightsError, WeightsError
from flux1.variants import Variant
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.files.disk import sha256
from flux1.weights.files.safetensors import MAX_HEADER, expected_files, read_json
from flux1.weights.kinds.kind import Kind

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
class Files:
    """The checkpoints of a model's networks; several may share a checkpoint. The transformer and
    the autoencoder come before the text encoders; `tokenizers` are by the kind of their encoder.

    When the transformer is loaded, `loras` are merged into it at scale 1, and a network that embeds
    guidance is fixed at the scale `guidance`, if one is given.
    """

    networks: Mapping[Kind, Checkpoint]
    tokenizers: Mapping[Kind, Path]
    loras: tuple[Path, ...] = ()
    guidance: float | None = None

    @property
    def text(self) -> dict[Kind, Checkpoint]:
        """The text encoders alone."""
        drawing = ("transformer", "autoencoder")
        return {kind: one for kind, one in self.networks.items() if kind not in drawing}

    @property
    def computed(self) -> bool:
        """True if no file has the transformer's weights as it draws with them."""
        return bool(self.loras) or self.guidance is not None


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
        paths = [checkpoint.path for checkpoint in self.files.networks.values()]
        if self.files.guidance is not None:
            digest.update(f"{self.files.guidance}".encode())
        paths += self.files.loras
        for number, path in enumerate(paths):
            for file in expected_files(path):
                digest.update(f"{number} {file.name} {file.stat().st_size}".encode())
                digest.update(_sample(file))
        return digest.hexdigest()[:12]


def unusual(variant: Variant) -> list[str]:
    """The values of the text encoders and the schedule that no tensor tells, where they are not
    FLUX.1's own."""
    return [
        f"{name} {getattr(config, name)}\n"
        for config in (*variant.text.encoders.values(), variant.schedule)
        for name in UNTOLD
        if hasattr(config, name) and getattr(config, name) != getattr(type(config), name)
    ]


def verify(source: Source) -> None:
    """WeightsError unless the files have the sha256 that their model.json says (other layouts say
    nothing)."""
    folder = source.root
    if source.layout != "flux1" or folder is None:
        return
    checksums = read_json(folder / MODEL_JSON).get("sha256")
    if not isinstance(checksums, dict):
        raise WeightsError(f"{folder / MODEL_JSON}: has no sha256 of its files")
    for name, file in vouched_for(source.files, folder).items():
        if checksums.get(name) != sha256(file):
            raise WeightsError(
                f"{file}: is not the file that {folder / MODEL_JSON} was written for"
            )


def files_of(folder: Path) -> Files:
    """The parts in a folder as flux-mini ships."""
    *networks, words = (folder / name for name in MODEL_FILES)
    kinds: tuple[Kind, ...] = ("transformer", "autoencoder", "bert")
    opened = {kind: Checkpoint(path) for kind, path in zip(kinds, networks, strict=True)}
    return Files(opened, {"bert": words})


def vouched_for(files: Files | None, folder: Path) -> dict[str, Path]:
    """The files whose sha256 stands in a folder's model.json, by the names that they have there: of
    one that holds LoRAs alone, also those of the model in the folder beside."""
    if files is None or not files.loras:
        return {name: folder / name for name in MODEL_FILES}
    base = files.networks["transformer"].path.parent
    beside = {f"{base.name}/{name}": base / name for name in MODEL_FILES}
    return {**{lora.name: lora for lora in files.loras}, **beside}


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
