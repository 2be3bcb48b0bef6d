"""The networks that a file, a folder or a model has, each under our names, before any is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flux1.errors import MissingWeightsError
from flux1.weights.files.dtypes import DTYPES
from flux1.weights.files.open import naming, open_tensors
from flux1.weights.files.safetensors import INDEX_SUFFIX, STEMS, read_json, within
from flux1.weights.kinds.keys import read_config
from flux1.weights.load import check_shapes
from flux1.weights.model_files import MODEL_JSON, Source
from flux1.weights.recognise import names
from flux1.weights.recognise.configs import (
    autoencoder_config,
    clip_config,
    t5_config,
    transformer_config,
)
from flux1.weights.recognise.parts import Kind, Part, open_part, split
from flux1.weights.recognise.shapes import (
    autoencoder_shape,
    clip_shape,
    t5_shape,
    transformer_shape,
)
from flux1.weights.sources import locate

FOLDERS: dict[Kind, str] = {  # diffusers'
    "transformer": "transformer",
    "autoencoder": "vae",
    "clip": "text_encoder",
    "t5": "text_encoder_2",
}
KEPT = ("F32", "F16", "BF16")  # dtypes that a plain file has
READERS = {
    "transformer": (transformer_config, transformer_shape),
    "autoencoder": (autoencoder_config, autoencoder_shape),
    "clip": (clip_config, clip_shape),
    "t5": (t5_config, t5_shape),
}


@dataclass(frozen=True)
class Network:
    """A network's tensors under our names, decoded when asked for. `forms` are empty tensors (on
    the meta device) of the same shapes, and of the dtypes that they are kept in; what is quantised
    counts as bfloat16. `told` is its config.json, empty where there is none."""

    kind: Kind
    path: Path
    config: Any
    state: Mapping[str, Tensor]
    forms: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    told: Mapping[str, Any]


def find_networks(place: str, models: Path | None = None) -> tuple[dict[Kind, Path], Source | None]:
    """Where the networks of a file, a folder or a model's name are; of a whole model, its source.

    A folder may be a model, one network with its config.json, or a diffusers folder that lacks
    some. MissingWeightsError, WeightsError and UnknownModelError as `locate` has them.
    """
    path = Path(place)
    if path.is_file() or (path.is_dir() and _is_one(path)):
        with naming(path):
            found: dict[Kind, Path] = {part.kind: path for part in split(open_tensors(path))[0]}
            if not found:
                open_part(path, "transformer")  # says what it is instead
        return found, None
    if path.is_dir() and not (path / MODEL_JSON).is_file():
        inner = {kind: within(path, path / name) for kind, name in FOLDERS.items()}
        found = {kind: folder for kind, folder in inner.items() if _is_one(folder)}
        if found:
            return found, None
    source = locate(path if path.exists() else place, models)
    files = source.files
    if files is None:
        raise MissingWeightsError(f"{place}: its weights are drawn at random, there are no files")
    kinds: tuple[Kind, ...] = ("clip", "t5") if len(files.text) == 2 else ("bert",)
    text = dict(zip(kinds, files.text, strict=True))
    return {"transformer": files.transformer, "autoencoder": files.autoencoder, **text}, source


def open_network(path: Path, kind: Kind, source: Source | None = None) -> Network:
    """One network of what `find_networks` found. WeightsError, naming the path, if it is damaged or
    not whole."""
    with naming(path):
        part = open_part(path, kind)
        told = path / "config.json"
        config: Any = None
        if kind == "autoencoder" and source is not None:
            config = source.variant.autoencoder  # with the latents' shift and scale
        elif kind in READERS:
            from_json, from_tensors = READERS[kind]
            whole = path.is_dir() and told.is_file()
            config = read_config(path, from_json) if whole else from_tensors(part)
        return Network(
            kind=kind,
            path=path,
            config=config,
            state=_ours(part, part.tensors, config),
            forms=forms_of(part, config),
            metadata=part.tensors.metadata,
            told=read_json(told) if path.is_dir() and told.is_file() else {},
        )


def forms_of(part: Part, config: Any) -> Mapping[str, Tensor]:
    """Empty tensors, as `Network.forms` has them. WeightsError for names that are missing or
    unknown, and for shapes that the network does not have."""
    empty = {
        name: torch.empty(
            stored.shape,
            dtype=DTYPES[stored.dtype] if stored.dtype in KEPT else torch.bfloat16,
            device="meta",
        )
        for name, stored in part.tensors.stored.items()
    }
    forms = dict(_ours(part, empty, config))
    if config is not None:
        check_shapes(part.kind, config, {name: tuple(form.shape) for name, form in forms.items()})
    return forms


def _is_one(folder: Path) -> bool:
    """Whether a folder holds the weights of one network."""
    return any(
        (folder / f"{stem}{suffix}").is_file()
        for stem in STEMS
        for suffix in (".safetensors", INDEX_SUFFIX)
    )


def _ours(part: Part, state: Mapping[str, Tensor], config: Any) -> Mapping[str, Tensor]:
    if part.kind == "transformer":
        if part.dialect == "diffusers":
            return names.transformer_from_diffusers(state, config)
        wanted = [line.bfl for line in names.transformer_table(config)]
    elif part.kind == "autoencoder":
        if part.dialect == "diffusers":
            return names.autoencoder_from_diffusers(state, config)
        wanted = [line.bfl for line in names.autoencoder_table(config)]
    elif part.kind == "clip":
        state, wanted = names.clip_names(state), names.clip_table(config)
    elif part.kind == "t5":
        state, wanted = names.t5_names(state), names.t5_table(config)
    else:
        return names.bert_names(state)
    names.check_names(state.keys(), wanted)
    return state
