"""Weights from any readable file to another layout and number format, one tensor at a time.

A conversion is planned first: from headers alone it is known what will be written, how large it is
and whether it can be. Then each tensor is read, renamed, given its LoRAs (in fp32), encoded and
written before the next one.
"""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from flux1.errors import OutputError, RequestError, WeightsError, nearest
from flux1.request import LoraUse, lora_uses
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.files.disk import check_room
from flux1.weights.files.dtypes import WORDS
from flux1.weights.files.gguf import ARCHITECTURE
from flux1.weights.files.lazy import LastTensor, LazyTensors
from flux1.weights.files.safetensors import expected_files, is_index, write_json
from flux1.weights.files.write import (
    Pending,
    TensorFormat,
    write_gguf,
    write_safetensors,
)
from flux1.weights.inspect import LICENCE_KEYS, NAME_KEYS
from flux1.weights.kinds.kind import Kind, NetworkKind
from flux1.weights.kinds.table import KINDS
from flux1.weights.lora.read import LoraFile, merge_lora, read_lora
from flux1.weights.networks import OpenedNetwork, find_networks, open_network
from flux1.weights.numbers.encode import BLOCKS, ENCODINGS, PLAIN, Encoding, plain

Layout = Literal["bfl", "diffusers", "comfyui", "gguf"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
HOLDS: dict[Layout, tuple[str, ...]] = {  # what reads these files can read in them
    "bfl": (*PLAIN, "fp8", "fp8_scaled", "int8", "nf4"),
    "diffusers": (*PLAIN, "fp8", "nf4"),
    "comfyui": (*PLAIN, "fp8", "fp8_scaled", "nf4"),
    "gguf": (*PLAIN, *BLOCKS),
}
INSTEAD = {  # where a layout does not hold a dtype: the one of its own that is most like it
    "fp8": "q8_0", "fp8_scaled": "fp8", "int8": "fp8", "nf4": "q4_0", "q8_0": "fp8", "q5_1": "fp8",
    "q5_0": "fp8", "q4_1": "nf4", "q4_0": "nf4",
}  # fmt: skip
ENDS = tuple(  # stay in 16 bits or more: few numbers, and the picture hangs on each
    f"{name}." for row in KINDS.values() for name in row.ends
)
BIASES = ("relative_attention_bias", "attn_rel_b")  # T5's, matrices by shape only
SMALL = 1024  # numbers of a tensor that GGUF keeps in float32, as vectors are
UNENCODED = {"2": "q4_0", "3": "q4_0", "4": "q4_0", "5": "q5_0", "6": "q8_0", "8": "q8_0"}  # bits
BESIDE = ("tokenizer", "tokenizer_2", "scheduler", "model_index.json")  # of a diffusers folder
SUFFIXES: dict[Layout, str] = {
    "bfl": ".safetensors", "comfyui": ".safetensors", "gguf": ".gguf", "diffusers": "",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One file to be written, and a config.json beside it if that is not empty."""

    file: Path
    pending: tuple[Pending, ...]
    metadata: Mapping[str, str]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(form.size for one in self.pending for form in one.forms.values())


@dataclass(frozen=True)
class Conversion:
    """A conversion that is planned, and checked as far as headers tell. `kinds` are the networks,
    `copied` folders and files that are taken over as they are."""

    place: Path
    layout: Layout
    dtype: str
    kinds: tuple[Kind, ...]
    loras: tuple[LoraFile, ...]
    targets: tuple[Target, ...]
    copied: tuple[Path, ...] = ()

    @property
    def bytes(self) -> int:
        """The bytes of all tensors that will be written."""
        return sum(target.bytes for target in self.targets)

    @property
    def dtypes(self) -> dict[str, int]:
        """The number of tensors that each dtype will have, most first."""
        forms = (f for t in self.targets for one in t.pending for f in one.forms.values())
        return dict(Counter(form.dtype for form in forms).most_common())

    def write(self, advance: Callable[[int], None] = lambda _: None) -> None:
        """Write it all; `advance` is told the bytes of each tensor when it is on its way to disk.

        Each file appears whole or not at all. OutputError if the place cannot be written;
        WeightsError, naming the tensor, for numbers that the dtype cannot hold.
        """
        for target in self.targets:
            if self.layout == "gguf":
                write_gguf(target.file, target.pending, target.metadata, advance)
            else:
                write_safetensors(target.file, target.pending, target.metadata, advance)
            if target.config:
                _forget_others(target.file)
                write_json(target.file.parent / "config.json", target.config)
        for old in self.copied:
            _copy(old, self.place / old.name)


def plan_conversion(
    source: str,
    place: Path,
    layout: str,
    dtype: str | None = None,
    part: str | None = None,
    loras: Sequence[tuple[Path, float]] = (),
    models: Path | None = None,
    force: bool = False,
) -> Conversion:
    """Plan what `flux1 convert` does, before anything is written.

    `source` is a file, a folder or a model's name; `dtype` one of ENCODINGS, or None: each tensor's
    own, bfloat16 for what is quantised. One `part`, else what the layout takes: `bfl` and `gguf`
    one network (the transformer, if there is one), the others all. `loras` are (file, scale).
    RequestError for combinations that cannot be, with the nearest that can; OutputError: `place` is
    there already (without `force`), or its disk is too full; else the errors of reading.
    """
    chosen = _chosen_layout(layout)
    encoding = _chosen_dtype(dtype, chosen)
    uses = _chosen_loras(loras)
    _check_place(source, place, chosen, force)
    found, whole = find_networks(source, models)
    kinds = _chosen_kinds(source, found, part, chosen, encoding)
    if uses and "transformer" not in kinds:
        raise RequestError("lora", f"goes into a transformer, {source} is read for {kinds[0]} only")
    networks = [open_network(found[kind], kind, whole) for kind in kinds]
    _check_invisible(networks, chosen)
    networks, read = _adapted(networks, uses)
    several = len(kinds) > 1
    copied: tuple[Path, ...] = ()
    if chosen == "diffusers":
        targets = [_folder(network, place, encoding, several) for network in networks]
        copied = _beside(Path(source)) if several else ()
    else:
        targets = [_file(networks, place, chosen, encoding)]
    _check_apart(networks, targets)
    plan = Conversion(place, chosen, dtype or "kept", kinds, tuple(read), tuple(targets), copied)
    check_room(place, plan.bytes)
    return plan


# --- what can be --------------------------------------------------------------------------------


def _chosen_layout(layout: str) -> Layout:
    if layout not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        raise RequestError("to", f"{layout!r} is none of {known}{nearest(layout, LAYOUTS)}")
    return layout


def _chosen_dtype(dtype: str | None, layout: Layout) -> Encoding | None:
    if dtype is None:
        return None
    if dtype not in ENCODINGS and (bits := re.match(r"i?q(\d)_", dtype)):
        like = UNENCODED.get(bits[1], "q4_0")
        raise RequestError("dtype", f"{dtype} can be read here, not written; take {like}")
    if dtype not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise RequestError("dtype", f"{dtype!r} is none of {known}{nearest(dtype, ENCODINGS)}")
    if dtype not in HOLDS[layout]:
        other = next(name for name in LAYOUTS if dtype in HOLDS[name])
        like = INSTEAD[dtype]
        like = like if like in HOLDS[layout] else INSTEAD[like]
        raise RequestError("dtype", f"{layout} does not hold {dtype}; take {like}, or --to {other}")
    return ENCODINGS[dtype]


def _chosen_loras(loras: Sequence[tuple[Path, float]]) -> tuple[LoraUse, ...]:
    uses = lora_uses([(str(file), scale) for file, scale in loras])
    for use in uses:
        if use.scale == 0:
            raise RequestError("lora", f"{use.name!r} at scale 0 changes nothing; leave it out")
    return uses


def _chosen_kinds(
    source: str,
    found: Mapping[Kind, Checkpoint],
    part: str | None,
    layout: Layout,
    encoding: Encoding | None,
) -> tuple[Kind, ...]:
    there = ", ".join(found)
    if part is not None and part not in KINDS:
        raise RequestError("part", f"{part!r} is none of {', '.join(KINDS)}{nearest(part, KINDS)}")
    if part is not None and part not in found:
        raise RequestError("part", f"{source} holds no {part}; it holds {there}")
    kinds = tuple(found)
    if part is not None:
        kinds = (part,)
    elif layout in ("bfl", "gguf"):
        kinds = ("transformer",) if "transformer" in found else tuple(found)
        if len(kinds) > 1:
            raise RequestError("part", f"{layout} holds one network; say which of {there}")
    if layout == "gguf" and not KINDS[kinds[0]].gguf:
        raise RequestError("to", f"gguf holds a transformer or a t5, not {kinds[0]}; take bfl")
    if layout != "bfl" and "bert" in kinds:
        raise RequestError(
            "to", f"{layout} has no place for {source}'s bert; say --part transformer, or --to bfl"
        )
    if (
        encoding
        and encoding.narrow
        and encoding.name != "int8"
        and not any(KINDS[kind].large for kind in kinds)
    ):
        raise RequestError(
            "dtype", f"{kinds[0]} is small and not kept in {encoding.name}; take bf16"
        )
    return kinds


def _check_place(source: str, place: Path, layout: Layout, force: bool) -> None:
    suffix = SUFFIXES[layout]
    if suffix and place.suffix != suffix:
        raise OutputError(f"{place}: {layout} is a file; call it {place.stem or 'x'}{suffix}")
    if not suffix and (place.is_file() or place.suffix in (".safetensors", ".gguf")):
        raise OutputError(f"{place}: {layout} is a folder; call it {place.stem}")
    if suffix and place.is_dir():
        raise OutputError(f"{place}: is a folder, a file is to be written")
    given = Path(source)
    if given.exists() and given.resolve() == place.resolve():
        raise OutputError(f"{place}: is what is read; write to another place")
    if not force and (place.is_file() or (place.is_dir() and any(place.iterdir()))):
        raise OutputError(f"{place}: is there already; --overwrite writes over it")


def _check_invisible(networks: Sequence[OpenedNetwork], layout: Layout) -> None:
    """RequestError for what only a config.json tells, where the layout has none."""
    for network in networks if layout != "diffusers" else ():
        for name in network.invisible:
            raise RequestError(
                "to",
                f"{layout} files have no config.json, which tells that {network.row.id}'s {name} "
                f"is {getattr(network.config, name)}; take diffusers",
            )


def _check_apart(networks: Sequence[OpenedNetwork], targets: Sequence[Target]) -> None:
    """OutputError if a file that is read would be replaced, or swept away with earlier shards."""
    read = {file.resolve() for network in networks for file in expected_files(network.path)}
    for target in targets:
        file = target.file.resolve()
        if file in read or (target.config and file.parent in {one.parent for one in read}):
            raise OutputError(f"{target.file}: lies where it is read; write to another place")


def _beside(source: Path) -> tuple[Path, ...]:
    """The folders and files of a diffusers folder that are no networks."""
    return tuple(path for name in BESIDE if (path := source / name).exists() and source.is_dir())


# --- LoRAs --------------------------------------------------------------------------------------


def _lora(file: Path, network: OpenedNetwork) -> LoraFile:
    lora = read_lora(file, network.config)
    if lora.wide:
        raise WeightsError(
            f"{file}: needs a wider first layer than {network.path} has: it is used beside the "
            "model, not merged"
        )
    return lora


def _adapted(
    networks: Sequence[OpenedNetwork], uses: Sequence[LoraUse]
) -> tuple[list[OpenedNetwork], list[LoraFile]]:
    """With the LoRAs in the network that they change, and the LoRAs that were read."""
    read: list[LoraFile] = []
    changed = list(networks)
    for i, network in enumerate(networks):
        if network.row.adapted:
            read = [_lora(Path(use.name), network) for use in uses]
            changed[i] = _merged(network, read, [use.scale for use in uses])
    return changed, read


def _merged(
    network: OpenedNetwork, loras: Sequence[LoraFile], scales: Sequence[float]
) -> OpenedNetwork:
    """With LoRAs in it: all sums in fp32, rounded once."""
    if not loras:
        return network
    state: Mapping[str, Tensor] = LazyTensors(
        {name: partial(_as_float, network.state, name) for name in network.state}
    )
    for lora, scale in zip(loras, scales, strict=True):
        state = merge_lora(state, lora, scale)
    return replace(network, state=state)


def _as_float(state: Mapping[str, Tensor], name: str) -> Tensor:
    return state[name].float()


# --- what is written ----------------------------------------------------------------------------


def _file(
    networks: Sequence[OpenedNetwork], place: Path, layout: Layout, encoding: Encoding | None
) -> Target:
    pending: list[Pending] = []
    for network in networks:
        prefix = network.row.prefix if len(networks) > 1 else ""
        pending += _pending(network, layout, encoding, prefix)
    metadata = _metadata(networks[0], encoding)
    if layout == "gguf":
        metadata = {f"general.{key}": value for key, value in metadata.items() if "." not in key}
        metadata.pop("general.format")
        metadata[ARCHITECTURE] = networks[0].row.gguf
    return Target(place, tuple(pending), metadata)


def _folder(
    network: OpenedNetwork, place: Path, encoding: Encoding | None, several: bool
) -> Target:
    places = network.row.places
    folder = place / places.folder if several else place
    narrow = encoding is not None and encoding.name == "nf4" and network.row.large
    config = {
        key: value
        for key, value in (network.config_file or _config(network)).items()
        if key not in ("quantization_config", "torch_dtype", "dtype")
    }
    if narrow:
        config["quantization_config"] = _bitsandbytes(network.row)
    return Target(
        folder / f"{places.stem}.safetensors",
        tuple(_pending(network, "diffusers", encoding, "")),
        _metadata(network, encoding),
        config,
    )


def _pending(
    network: OpenedNetwork, layout: Layout, encoding: Encoding | None, prefix: str
) -> list[Pending]:
    """The tensors of a network in a layout, each to be made when its turn comes."""
    spelled = network.row.spelled
    forms = spelled(network.forms, layout, network.config)
    state = spelled(LastTensor(network.state), layout, network.config)
    pending, packed = [], False
    for name, empty in forms.items():
        one = _encoding_of(network.row, name, empty, layout, encoding)
        packed = packed or one is encoding
        shape = tuple(empty.shape)
        full = prefix + name
        pending.append(Pending(one.forms(full, shape), partial(_made, one, state, name, full)))
    if packed and encoding is not None:
        marker = {prefix + name: tensor for name, tensor in encoding.marker.items()}
        if marker:
            formats = {
                n: TensorFormat(WORDS[t.dtype], tuple(t.shape), 0) for n, t in marker.items()
            }
            pending.append(Pending(formats, partial(dict, marker)))
    return pending


def _made(encoding: Encoding, state: Mapping[str, Tensor], name: str, full: str) -> dict:
    with torch.no_grad():
        return encoding.encode(full, state[name])


def _encoding_of(
    row: NetworkKind, name: str, empty: Tensor, layout: Layout, encoding: Encoding | None
) -> Encoding:
    """Return how one tensor is kept, of a network that is kept in `encoding` (None: as it was)."""
    kept = plain(WORDS[empty.dtype])
    if layout == "gguf" and (empty.ndim < 2 or empty.numel() <= SMALL):
        return plain("F32")
    if encoding is None or not encoding.narrow:
        return encoding or kept
    if encoding.name == "int8":
        return encoding if empty.ndim >= 2 else plain("F32")
    large = row.large and empty.ndim == 2
    kept_whole = name.startswith(ENDS) or any(part in name for part in BIASES)
    return encoding if large and not kept_whole else kept


def _metadata(network: OpenedNetwork, encoding: Encoding | None) -> dict[str, str]:
    """The metadata of a new file: what the old one says of its origin and licence goes with it."""
    facts = {k: v for k, v in network.metadata.items() if k in (*LICENCE_KEYS, *NAME_KEYS)}
    facts = {key.removeprefix("general."): value for key, value in facts.items()}
    return {"format": "pt", **facts, **(encoding.metadata if encoding else {})}


def _config(network: OpenedNetwork) -> dict[str, Any]:
    """A config.json for a network that came without."""
    known = network.row.description
    return known.write(network.config) if known is not None else {}


def _bitsandbytes(row: NetworkKind) -> dict[str, Any]:
    """The key of config.json by which diffusers and transformers know such a file."""
    return {
        "quant_method": "bitsandbytes",
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_use_double_quant": False,
        "llm_int8_skip_modules": list(row.skipped) or None,
    }


def _forget_others(file: Path) -> None:
    """Remove what an earlier save left under the same stem: shards, their index."""
    for old in file.parent.glob(f"{file.stem}*"):
        if old.name != file.name and (old.suffix == ".safetensors" or is_index(old)):
            old.unlink()


def _copy(old: Path, new: Path) -> None:
    try:
        if old.is_dir():
            shutil.copytree(old, new, dirs_exist_ok=True)
        else:
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, new)
    except OSError as failure:
        raise OutputError(f"{new}: cannot be written: {failure}") from failure
