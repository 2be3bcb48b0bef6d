"""A report on a weight file from its header alone: no tensor is read, so 24 GB take a moment."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flux1.errors import MissingWeightsError, WeightsError
from flux1.weights.checkpoint import Checkpoint, foreign
from flux1.weights.files.gguf import GgufTensors
from flux1.weights.files.lazy import StoredTensors
from flux1.weights.files.open import SUFFIXES, naming
from flux1.weights.files.pickles import PickleTensors
from flux1.weights.files.safetensors import is_index
from flux1.weights.kinds.foreign import family_of, family_told
from flux1.weights.kinds.kind import Kind, Part
from flux1.weights.kinds.table import KINDS
from flux1.weights.lora import names as lora_names
from flux1.weights.networks import forms_of
from flux1.weights.numbers.schemes import plain_tensors, schemes_of

LICENCE_KEYS = ("license", "licence", "modelspec.license", "general.license")
NAME_KEYS = ("modelspec.title", "general.name", "ss_base_model_version")


@dataclass(frozen=True)
class NetworkReport:
    """One network in a file. `problem` says why it cannot be read here; then nothing is known of
    its names and size. `unknown` and `missing` are names as the network's dialect spells them."""

    kind: Kind
    what: str
    dialect: str
    prefix: str
    parameters: int = 0
    quantisation: tuple[str, ...] = ()
    licence: str = ""
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Adapter:
    """A LoRA, or something like it. `dialect` is empty if it is not of FLUX.1's layers."""

    algorithms: tuple[str, ...]
    dialect: str
    ranks: tuple[int, ...]
    layers: int
    text_layers: int
    other_model: str = ""


@dataclass(frozen=True)
class DtypeShare:
    """The number of tensors of a dtype, and the bytes that they take in the file."""

    tensors: int
    bytes: int


@dataclass(frozen=True)
class Report:
    """All that a file's header says. `other` names a model that is not FLUX.1's; `unknown` are the
    names that belong to no network."""

    path: Path
    format: str
    bytes: int
    tensors: int
    dtypes: dict[str, DtypeShare]
    networks: tuple[NetworkReport, ...]
    adapter: Adapter | None
    other: str
    unknown: tuple[str, ...]
    metadata: dict[str, str]


def inspect(path: Path) -> list[Report]:
    """A report on a file, or on each file (or set of shards) in a folder and its subfolders.

    MissingWeightsError: nothing to look at; WeightsError, naming the file, if one is damaged.
    """
    if path.is_dir():
        units = [unit for folder in (path, *_subfolders(path)) for unit in _units(folder)]
        if not units:
            raise MissingWeightsError(f"{path}: holds no weight files")
        return [_report(unit) for unit in units]
    return [_report(path)]


def _report(path: Path) -> Report:
    with naming(path):
        checkpoint = Checkpoint(path)
        state, parts, rest = checkpoint.tensors, checkpoint.parts, checkpoint.rest
        algorithms = tuple(lora_names.algorithms_of(state.keys()))
        other = foreign(state) or ""
    known = [] if algorithms or other else parts
    files = [path] if path.is_file() else [file for file in path.iterdir() if _is_weights(file)]
    return Report(
        path=path,
        format=_format(state),
        bytes=sum(file.stat().st_size for file in files),
        tensors=len(state),
        dtypes=_dtypes(state),
        networks=tuple(_network(part, _called(path, state.metadata)) for part in known),
        adapter=_adapter(algorithms, state) if algorithms else None,
        other="" if algorithms else other,
        unknown=() if algorithms or other else tuple(rest),
        metadata=state.metadata,
    )


def _network(part: Part, called: str) -> NetworkReport:
    """The report on a part; `problem` says why its quantisation or its shape is not known."""
    try:
        plain = replace(part, tensors=plain_tensors(part.tensors))
        described = KINDS[part.kind].describe(plain, called)
    except WeightsError as problem:
        return NetworkReport(part.kind, "", part.dialect, part.prefix, problem=str(problem))
    found = {new for old in plain.tensors if (new := described.rename(old)) is not None}
    missing = tuple(one for one in described.wanted if one not in found)
    unknown = tuple(sorted(found - set(described.wanted)))
    if not missing and not unknown and (wrong := _misshapen(plain)):
        return NetworkReport(part.kind, "", part.dialect, part.prefix, problem=wrong)
    stated = next(
        (part.tensors.metadata[k] for k in LICENCE_KEYS if k in part.tensors.metadata), ""
    )
    return NetworkReport(
        kind=part.kind,
        what=described.what,
        dialect=part.dialect,
        prefix=part.prefix,
        parameters=sum(math.prod(tensor.shape) for tensor in plain.tensors.stored.values()),
        quantisation=tuple(schemes_of(part.tensors)),
        licence=f"{stated} (as the file says)" if stated else described.licence,
        missing=missing,
        unknown=unknown,
    )


def _misshapen(part: Part) -> str:
    """The line about tensors in another shape than the network's; '' if there are none. The text
    encoders are not looked at: their shapes take seconds of imports."""
    row = KINDS[part.kind]
    try:
        if row.description is not None and not row.imports:
            forms_of(part, row.description.tensors(part))
    except WeightsError as problem:
        return str(problem)
    return ""


def _adapter(algorithms: tuple[str, ...], state: StoredTensors) -> Adapter:
    layers = {lora_names.role_of(name)[0] for name in state}
    text = [layer for layer in layers if lora_names.is_text(layer)]
    shapes = {name: tensor.shape for name, tensor in state.stored.items()}
    return Adapter(
        algorithms=algorithms,
        dialect=lora_names.dialect_of(state.keys(), state.metadata) or "",
        ranks=tuple(lora_names.ranks_of(shapes)),
        layers=len(layers) - len(text),
        text_layers=len(text),
        other_model=family_of(state) or family_told(state.metadata) or "",
    )


def _format(state: StoredTensors) -> str:
    if isinstance(state, GgufTensors):
        return f"GGUF {state.version}"
    return "pickle" if isinstance(state, PickleTensors) else "safetensors"


def _dtypes(state: StoredTensors) -> dict[str, DtypeShare]:
    """Largest first."""
    sizes: dict[str, list[int]] = defaultdict(list)
    for tensor in state.stored.values():
        sizes[tensor.dtype].append(tensor.size)
    most = sorted(sizes, key=lambda dtype: -sum(sizes[dtype]))
    return {dtype: DtypeShare(len(sizes[dtype]), sum(sizes[dtype])) for dtype in most}


def _called(path: Path, metadata: Mapping[str, Any]) -> str:
    """The names that a file gives itself: its name, and the names in its metadata."""
    return " ".join((path.name, *(str(metadata.get(key, "")) for key in NAME_KEYS)))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_dir())


def _units(folder: Path) -> list[Path]:
    """The sets of weights in one folder: the folder itself if an index joins its files."""
    if any(is_index(file) for file in folder.iterdir()):
        return [folder]
    return sorted(file for file in folder.iterdir() if _is_weights(file))


def _is_weights(file: Path) -> bool:
    return file.suffix in SUFFIXES and file.is_file()
