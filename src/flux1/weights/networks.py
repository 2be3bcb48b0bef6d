"""The networks that a file, a folder or a model has, each under our names, before any is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flux1.errors import MissingWeightsError, WeightsError
from flux1.weights.build import check_shapes
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.files.dtypes import DTYPES
from flux1.weights.files.open import naming
from flux1.weights.files.safetensors import holds_network, within
from flux1.weights.kinds.kind import Kind, NetworkKind, Part
from flux1.weights.kinds.table import KINDS, PUBLISHED
from flux1.weights.model_files import MODEL_JSON, Source
from flux1.weights.sources import locate

KEPT = ("F32", "F16", "BF16")  # dtypes that a plain file has


@dataclass(frozen=True)
class OpenedNetwork:
    """A network's tensors under our names, decoded when asked for. `forms` are empty tensors (on
    the meta device) of the same shapes, and of the dtypes that they are kept in; what is quantised
    counts as bfloat16. `config_file` is its config.json, empty where there is none; `invisible`
    names the fields of `config` that would be other ones if they were read from the tensors."""

    row: NetworkKind
    path: Path
    config: Any
    state: Mapping[str, Tensor]
    forms: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    config_file: Mapping[str, Any]
    invisible: tuple[str, ...] = ()


def find_networks(
    place: str, models: Path | None = None
) -> tuple[Mapping[Kind, Checkpoint], Source | None]:
    """Return where the networks of a file, a folder or a model's name are; of a whole model, its
    source.

    A folder may be a model, one network with its config.json, or a diffusers folder that lacks
    some. MissingWeightsError, WeightsError and UnknownModelError as `locate` has them.
    """
    path = Path(place)
    if path.is_file() or (path.is_dir() and holds_network(path)):
        checkpoint = Checkpoint(path)
        if not checkpoint.parts:
            checkpoint.raw("transformer")  # says what it is instead
        return {part.kind: checkpoint for part in checkpoint.parts}, None
    if path.is_dir() and not (path / MODEL_JSON).is_file():
        inner = {row.id: within(path, path / row.places.folder) for row in PUBLISHED}
        found = {
            kind: Checkpoint(folder) for kind, folder in inner.items() if holds_network(folder)
        }
        if found:
            return found, None
    source = locate(path if path.exists() else place, models)
    if source.files is None:
        raise MissingWeightsError(f"{place}: its weights are drawn at random, there are no files")
    return source.files.networks, source


def open_network(checkpoint: Checkpoint, kind: Kind, source: Source | None = None) -> OpenedNetwork:
    """One network of what `find_networks` found. WeightsError, naming the path, if it is damaged or
    not whole."""
    row = KINDS[kind]
    part = checkpoint.part(kind)
    config = checkpoint.config(kind)
    if kind == "autoencoder" and source is not None:
        config = source.variant.autoencoder  # with the latents' shift and scale
    with naming(checkpoint.path):
        return OpenedNetwork(
            row=row,
            path=checkpoint.path,
            config=config,
            state=row.ours(part.tensors, part.dialect, config),
            forms=forms_of(part, config),
            metadata=part.tensors.metadata,
            config_file=checkpoint.config_file(),
            invisible=_invisible(part, config),
        )


def _invisible(part: Part, config: Any) -> tuple[str, ...]:
    """The fields of a config that a file without one loses; none where such a file is not known as
    this network at all."""
    known = KINDS[part.kind].description
    try:
        shown = None if known is None else known.tensors(part)
    except WeightsError:
        shown = None
    if known is None or shown is None:
        return ()
    return tuple(name for name in known.invisible if getattr(config, name) != getattr(shown, name))


def forms_of(part: Part, config: Any) -> Mapping[str, Tensor]:
    """Empty tensors, as `OpenedNetwork.forms` has them. WeightsError for names that are missing or
    unknown, and for shapes that the network does not have."""
    empty = {
        name: torch.empty(
            stored.shape,
            dtype=DTYPES[stored.dtype] if stored.dtype in KEPT else torch.bfloat16,
            device="meta",
        )
        for name, stored in part.tensors.stored.items()
    }
    forms = dict(KINDS[part.kind].ours(empty, part.dialect, config))
    if config is not None:
        shapes = {name: tuple(form.shape) for name, form in forms.items()}
        check_shapes(KINDS[part.kind], config, shapes)
    return forms
