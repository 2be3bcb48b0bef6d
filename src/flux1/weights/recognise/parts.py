"""Which networks a file holds, in whose names: told by the tensors, never by the file's name.

One file may hold several, each under a prefix (`model.diffusion_model.`, `vae.`,
`text_encoders.t5xxl.transformer.`): whatever stands before a name that only one network has, is its
prefix.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flux1.errors import WeightsError
from flux1.weights.files.gguf import ARCHITECTURE
from flux1.weights.files.lazy import StoredTensors
from flux1.weights.files.open import open_tensors
from flux1.weights.lora.names import algorithms_of
from flux1.weights.numbers.schemes import plain_tensors
from flux1.weights.recognise.foreign import family_of

Kind = Literal["transformer", "autoencoder", "clip", "t5", "bert"]
TITLES: dict[Kind, str] = {
    "transformer": "a transformer",
    "autoencoder": "an autoencoder",
    "clip": "a CLIP text encoder",
    "t5": "a T5 encoder",
    "bert": "a sentence encoder",
}
SIGNATURES: tuple[tuple[Kind, str, str], ...] = (  # what, whose names, a name that only it has
    ("transformer", "bfl", "double_blocks.0.img_attn.qkv."),
    ("transformer", "diffusers", "transformer_blocks.0.attn.add_q_proj."),
    ("autoencoder", "bfl", "decoder.mid.attn_1.q."),
    ("autoencoder", "diffusers", "decoder.mid_block.attentions.0.to_q."),
    ("clip", "transformers", "encoder.layers.0.self_attn.q_proj."),
    ("t5", "transformers", "encoder.block.0.layer.0.SelfAttention.q."),
    ("t5", "llama.cpp", "enc.blk.0.attn_q."),
    ("bert", "transformers", "encoder.layer.0.attention.self.query."),
)
OTHER_TOWERS = ("vision_model.", "vision_tower.", "clip_g.")  # CLIPs that FLUX.1 has not
WRAPPING = ("text_model.", "bert.")  # part of the text encoders' own names
BESIDE = ("logit_scale", "text_projection", "text_projection.weight")  # CLIP's, T5's; unused
ARCHITECTURES = ("flux", "t5", "t5encoder", "pig", "cow")  # of GGUF files that may hold our parts


@dataclass(frozen=True)
class Part:
    """One network's tensors, without the prefix, as the file keeps them (quantised or not)."""

    kind: Kind
    dialect: str
    prefix: str
    tensors: StoredTensors


def split(state: StoredTensors) -> tuple[list[Part], list[str]]:
    """The networks in a file's tensors, and the names that belong to none of them."""
    places: dict[str, tuple[Kind, str]] = {}
    for kind, dialect, signature in SIGNATURES:
        prefix = _prefix(state, signature)
        if prefix is not None and kind not in {taken for taken, _ in places.values()}:
            places.setdefault(prefix, (kind, dialect))
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


def open_part(path: Path, kind: Kind) -> Part:
    """The network of this kind in a file or a folder of shards, its quantisation undone.

    MissingWeightsError; WeightsError, naming what the file is, if it does not hold one.
    """
    state = open_tensors(path)
    found, _ = split(state)
    part = next((part for part in found if part.kind == kind), None)
    other = foreign(state)
    if part is None or other is not None:
        is_what = other or " and ".join(TITLES[part.kind] for part in found)
        raise WeightsError(f"holds {is_what or 'no network that is known'}, not {_ours(kind)}")
    return Part(kind, part.dialect, part.prefix, plain_tensors(part.tensors))


def foreign(state: StoredTensors) -> str | None:
    """What the tensors are, if they are a LoRA or of another family of models."""
    if algorithms_of(state.keys()):
        return "a LoRA"
    architecture = state.metadata.get(ARCHITECTURE)
    encoder = any("enc.blk.0." in name for name in state)  # T5's, in a language model's names
    family = family_of(name for name in state if not (encoder and "token_embd." in name))
    if family is not None:
        return f"{family} ({architecture!r})" if architecture else family
    if architecture is not None and architecture not in ARCHITECTURES:
        return f"a {architecture!r} model"
    return None


def _ours(kind: Kind) -> str:
    return f"{TITLES[kind]} of FLUX.1's" if kind != "bert" else TITLES[kind]


def _prefix(names: Iterable[str], signature: str) -> str | None:
    """What stands before the name that only this network has; None if no name is it."""
    for name in names:
        at = name.find(signature)
        if at < 0 or (at and name[at - 1] != "."):
            continue
        prefix = name[:at]
        if any(tower in prefix for tower in OTHER_TOWERS):
            continue
        for wrapping in WRAPPING:
            prefix = prefix.removesuffix(wrapping)
        return prefix
    return None


def _without(state: StoredTensors, prefix: str, owned: list[str]) -> StoredTensors:
    stored = {name.removeprefix(prefix): state.stored[name] for name in owned}
    return StoredTensors(stored, state.metadata)
