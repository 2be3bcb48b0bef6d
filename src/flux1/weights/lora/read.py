"""LoRA files of every dialect to changes of BFL's modules.

`lora_names` knows how a file spells a layer, `lora_layers` what its tensors do to it. What is read:
LoRA, DoRA, LoKr, LoHa, plain differences, and BFL's control LoRAs.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from flux1.errors import WeightsError, printable
from flux1.model.config import TransformerConfig
from flux1.model.lora import merged
from flux1.model.lora_changes import Delta
from flux1.weights.files.disk import sha256, unreadable
from flux1.weights.files.lazy import LazyTensors, StoredTensors
from flux1.weights.files.open import open_tensors
from flux1.weights.files.safetensors import expected_files
from flux1.weights.kinds.foreign import family_of, family_told, other_adapter
from flux1.weights.kinds.lines import listed
from flux1.weights.lora import names as lora_names
from flux1.weights.lora.layers import PEFT_STEM, LayerReader, is_zero
from flux1.weights.lora.names import Target


@dataclass(frozen=True)
class LoraFile:
    """A LoRA that was read: its changes by module, and what of the file is not among them."""

    path: Path
    dialect: str
    algorithms: tuple[str, ...]
    ranks: tuple[int, ...]
    deltas: Mapping[str, tuple[Delta, ...]]
    unused: tuple[str, ...]
    text_keys: int
    sha256: str

    @property
    def wide(self) -> bool:
        """True if it reads a control picture: its first layer has more inputs than the model's."""
        return any(delta.wide for deltas in self.deltas.values() for delta in deltas)

    def __str__(self) -> str:
        """One line: what it is, how many modules it touches, which keys it does not use."""
        parts = [f"{self.dialect} {' '.join(self.algorithms)}"]
        if self.ranks:
            parts.append("rank " + " to ".join(map(str, sorted({self.ranks[0], self.ranks[-1]}))))
        parts.append(f"{len(self.deltas)} modules touched")
        if self.text_keys:
            parts.append(
                f"{self.text_keys} keys for text encoders not used (prompts are read without them)"
            )
        if self.unused:
            parts.append(f"{len(self.unused)} keys not used: {listed(list(self.unused))}")
        return printable(f"{self.path}: {', '.join(parts)}")


def read_lora(path: Path, config: TransformerConfig) -> LoraFile:
    """A LoRA for a transformer of this shape, from a file or PEFT's folder.

    MissingWeightsError: there is no such file. WeightsError, one line that names it: damaged, not a
    LoRA, for another model, of another width, or without effect.
    """
    try:
        file = expected_files(path, PEFT_STEM)[0] if path.is_dir() else path
        tensors = open_tensors(file)
        try:
            return _read(file, tensors, config)
        except WeightsError as failure:
            raise WeightsError(f"{path}: {failure}") from failure
    except OSError as failure:
        raise unreadable(failure) from failure


def merge_lora(
    state: Mapping[str, Tensor], lora: LoraFile, scale: float = 1.0
) -> Mapping[str, Tensor]:
    """A transformer's tensors (BFL's names) with a LoRA in them, each computed when asked for."""
    return LazyTensors({name: partial(_merged, state, name, lora, scale) for name in state})


def _merged(state: Mapping[str, Tensor], name: str, lora: LoraFile, scale: float) -> Tensor:
    module, _, kind = name.rpartition(".")
    deltas = lora.deltas.get(module, ())
    return merged(kind, state[name], deltas, scale) if deltas else state[name]


def _changes(
    reader: LayerReader, groups: Mapping[str, dict[str, str]], config: TransformerConfig
) -> tuple[dict[str, list[Delta]], list[str]]:
    """The changes of each module, and the keys that make none. Some files hold rows twice, in two
    spellings: then the one with dots counts."""
    deltas: dict[str, list[Delta]] = defaultdict(list)
    taken: dict[str, list[Target]] = defaultdict(list)
    unused: list[str] = []
    for layer in sorted(groups, key=lambda layer: ("." not in layer, layer)):
        target = lora_names.targets(config)[lora_names.bare(layer)]
        twice = any(
            target.start < other.stop and other.start < target.stop
            for other in taken[target.module]
        )
        delta = None if twice else reader.delta(layer, target, groups[layer])
        if delta is None:
            unused += groups[layer].values()
            continue
        taken[target.module].append(target)
        deltas[target.module].append(delta)
    return deltas, unused


def _read(file: Path, tensors: StoredTensors, config: TransformerConfig) -> LoraFile:
    names = sorted(tensors)
    algorithms = lora_names.algorithms_of(names)
    if (other := family_of(names) or family_told(tensors.metadata)) is not None:
        raise WeightsError(f"for {other}, not for FLUX.1")
    if not algorithms and (adapter := other_adapter(names)) is not None:
        raise WeightsError(f"holds {adapter}, which is not read; LoRA, DoRA, LoHa and LoKr are")
    if not algorithms:
        raise WeightsError(f"not a LoRA: {listed(names) or 'it holds no tensors'}")
    text = [name for name in names if lora_names.is_text(name)]
    groups, unused = _grouped([name for name in names if not lora_names.is_text(name)], config)
    deltas, ignored = _changes(LayerReader(file, tensors), groups, config)
    unused += ignored
    kept = {
        module: tuple(delta for delta in found if not is_zero(delta))
        for module, found in deltas.items()
    }
    kept = {module: found for module, found in kept.items() if found}
    if not kept:
        raise WeightsError(_why_nothing(text, unused, bool(deltas)))
    return LoraFile(
        path=file,
        dialect=lora_names.dialect_of(names, tensors.metadata) or "unknown dialect",
        algorithms=tuple(algorithms),
        ranks=tuple(lora_names.ranks_of({name: t.shape for name, t in tensors.stored.items()})),
        deltas=kept,
        unused=tuple(sorted(unused)),
        text_keys=len(text),
        sha256=sha256(file),
    )


def _grouped(
    names: Sequence[str], config: TransformerConfig
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The keys of each layer by role, and the keys that are no layer's.

    WeightsError if a key is for a block that this model does not have.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    unused = []
    known = lora_names.targets(config)
    for name in names:
        layer, role = lora_names.role_of(name)
        if role and lora_names.bare(layer) in known and role not in groups.get(layer, {}):
            groups[layer][role] = name
            continue
        if role and (block := lora_names.block_of(lora_names.bare(layer))) is not None:
            single, index = block
            depth = config.depth_single_blocks if single else config.depth
            if index >= depth:
                kind = "single" if single else "double"
                raise WeightsError(
                    f"{name}: this model has {depth} {kind} blocks: a LoRA for another model"
                )
        unused.append(name)
    return dict(groups), unused


def _why_nothing(text: Collection[str], unused: list[str], matched: bool) -> str:
    if matched:
        return "would change nothing: all its numbers are zero"
    if unused:
        return f"would change nothing: no key of it is known: {listed(unused)}"
    return f"changes text encoders only ({len(text)} keys), which stay as they are here"
