"""A weight file that travels opened: which networks it holds, in whose names, told by the tensors,
never by the file's name.

One file may hold several, each under a prefix (`model.diffusion_model.`, `vae.`,
`text_encoders.t5xxl.transformer.`): whatever stands before a name that only one network has, is its
prefix.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from flux1.errors import WeightsError
from flux1.weights.files.gguf import ARCHITECTURE
from flux1.weights.files.lazy import StoredTensors
from flux1.weights.files.open import naming, open_tensors
from flux1.weights.files.safetensors import read_json
from flux1.weights.kinds.foreign import family_of, family_told
from flux1.weights.kinds.keys import read_config
from flux1.weights.kinds.kind import Kind, Part
from flux1.weights.kinds.table import KINDS, PUBLISHED
from flux1.weights.lora.names import algorithms_of
from flux1.weights.numbers.schemes import plain_tensors

OTHER_TOWERS = ("vision_model.", "vision_tower.", "clip_g.")  # CLIPs that FLUX.1 has not
BESIDE = ("logit_scale", "text_projection", "text_projection.weight")  # CLIP's, T5's; unused
ARCHITECTURES = ("flux", "t5", "t5encoder", "pig", "cow")  # of GGUF files that may hold our parts


class Checkpoint:
    """A weight file, or a folder of shards with the config.json of its network: opened when it is
    first asked for something, and once.

    Errors name the path. MissingWeightsError: it is not there; WeightsError: it is damaged, or does
    not hold what is asked for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r})"

    @cached_property
    def tensors(self) -> StoredTensors:
        """All tensors, under the file's own names."""
        with naming(self.path):
            return open_tensors(self.path)

    @cached_property
    def _split(self) -> tuple[list[Part], list[str]]:
        return split(self.tensors)

    @property
    def parts(self) -> list[Part]:
        """The networks in it, as the file keeps them."""
        return self._split[0]

    @property
    def rest(self) -> list[str]:
        """The names that belong to no network."""
        return self._split[1]

    def raw(self, kind: Kind) -> Part:
        """The network of this kind, as the file keeps it. WeightsError says what the file is, if it
        does not hold one."""
        part = next((part for part in self.parts if part.kind == kind), None)
        other = foreign(self.tensors)
        if part is None or other is not None:
            is_what = other or " and ".join(KINDS[part.kind].title for part in self.parts)
            raise WeightsError(
                f"{self.path}: holds {is_what or 'no network that is known'}, not {_ours(kind)}"
            )
        return part

    def part(self, kind: Kind) -> Part:
        """As `raw`, its quantisation undone."""
        part = self.raw(kind)
        with naming(self.path):
            return replace(part, tensors=plain_tensors(part.tensors))

    def config_file(self) -> dict[str, Any]:
        """The contents of the config.json in a folder; empty where there is none."""
        file = self.path / "config.json"
        return read_json(file) if self.path.is_dir() and file.is_file() else {}

    def config(self, kind: Kind) -> Any:
        """A network's config: its config.json's, else what its tensors tell; None for a kind whose
        config nothing tells."""
        known = KINDS[kind].description
        if known is None:
            return None
        if self.path.is_dir() and (self.path / "config.json").is_file():
            return read_config(self.path, known.read)
        with naming(self.path):
            return known.tensors(self.part(kind))


def split(state: StoredTensors) -> tuple[list[Part], list[str]]:
    """The networks in a file's tensors, and the names that belong to none of them."""
    places: dict[str, tuple[Kind, str]] = {}
    for row in KINDS.values():
        for dialect, signature in row.signatures.items():
            prefix = _prefix(state, signature)
            if prefix is not None and row.id not in {taken for taken, _ in places.values()}:
                places.setdefault(prefix, (row.id, dialect))
    owned: dict[str, list[str]] = {prefix: [] for prefix in places}
    rest: list[str] = []
    longest = sorted(places, key=len, reverse=True)
    for name in state:
        prefix = next((p for p in longest if name.startswith(p)), None)
        (rest if prefix is None else owned[prefix]).append(name)
    found = [
        Part(kind, dialect, prefix, _without(state, prefix, owned[prefix]))
        for prefix, (kind, dialect) in places.items()
    ]
    return found, [name for name in rest if not name.endswith(BESIDE)]


def foreign(state: StoredTensors) -> str | None:
    """The name of what the tensors are, if they are a LoRA or of another family; else None."""
    if algorithms_of(state.keys()):
        return "a LoRA"
    architecture = state.metadata.get(ARCHITECTURE)
    encoder = any("enc.blk.0." in name for name in state)  # T5's, in a language model's names
    family = family_of(name for name in state if not (encoder and "token_embd." in name))
    family = family or family_told(state.metadata)
    if family is not None:
        return f"{family} ({architecture!r})" if architecture else family
    if architecture is not None and architecture not in ARCHITECTURES:
        return f"a {architecture!r} model"
    return None


def _ours(kind: Kind) -> str:
    row = KINDS[kind]
    return f"{row.title} of FLUX.1's" if row in PUBLISHED else row.title


def _prefix(names: Iterable[str], signature: str) -> str | None:
    """The prefix of the name that only this network has; None if no name is it."""
    for name in names:
        at = name.find(signature)
        if at < 0 or (at and name[at - 1] != "."):
            continue
        prefix = name[:at]
        if any(tower in prefix for tower in OTHER_TOWERS):
            continue
        for row in KINDS.values():
            prefix = prefix.removesuffix(row.wrapping)
        return prefix
    return None


def _without(state: StoredTensors, prefix: str, owned: list[str]) -> StoredTensors:
    stored = {name.removeprefix(prefix): state.stored[name] for name in owned}
    return StoredTensors(stored, state.metadata)
