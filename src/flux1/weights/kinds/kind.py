"""A kind of network as a frozen row, whose fields code asks; the rows are in the files beside
this one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from flux1.weights.files.lazy import StoredTensors
from flux1.weights.kinds.keys import ConfigFile
from flux1.weights.kinds.words import load_tokenizer

Kind = Literal["transformer", "autoencoder", "clip", "t5", "bert"]
State = Mapping[str, Tensor]
Rename = Callable[[str], str | None]


@dataclass(frozen=True)
class Part:
    """One network's tensors, without the prefix, as the file keeps them (quantised or not)."""

    kind: Kind
    dialect: str
    prefix: str
    tensors: StoredTensors


@dataclass(frozen=True)
class Described:
    """A network in words: which one it is, its licence ('' if that is not known), the names
    that it needs, and what each of the file's names stands for among them."""

    what: str
    licence: str
    wanted: list[str]
    rename: Rename


@dataclass(frozen=True)
class Description:
    """The two readers of a network's shape: from a config.json, which `write` makes again, or
    from its tensors alone. WeightsError for a network that cannot be built."""

    read: Callable[[ConfigFile], Any]
    write: Callable[[Any], dict[str, Any]]
    tensors: Callable[[Part], Any]
    invisible: tuple[str, ...] = ()  # fields of the config that no tensor shows


@dataclass(frozen=True)
class Places:
    """The places where files of a kind lie: diffusers' `folder` and file, the other folders that
    ComfyUI's users have, and what single files are called there, the most exact first; `usual`
    is asked for where there is none. `words` is the folder of a text encoder's tokenizer, which
    holds one of `word_files`; the first is asked for."""

    folder: str = ""
    stem: str = ""  # of the file in the folder
    others: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()
    usual: str = ""
    words: str = ""
    word_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkKind:
    """A kind of network: how it is built, recognised, named, found and written.

    `signatures` are names that only it has, by whose names they are. `ours` gives a file's tensors
    our names; `spelled` gives ours back in a layout's names, where those are others. `stored`:
    whether its large matrices may stay quantised or in the file; `quantised`: whether the layers of
    its blocks may be in eight bits, the "weights" alone or the "arithmetic" too; `large`: whether
    files keep it below 16 bits. `prefix` is ComfyUI's in a file of several networks, `gguf` the
    architecture that such a file names ('' where there is none).
    """

    id: Kind
    title: str
    build: type[nn.Module]
    signatures: Mapping[str, str]
    ours: Callable[[State, str, Any], StoredTensors]
    describe: Callable[[Part, str], Described]
    description: Description | None = None
    places: Places = Places()
    spelled: Callable[[State, str, Any], State] = lambda state, layout, config: state
    imports: bool = False  # building it takes seconds, because it imports `transformers`
    tokenizer: Callable[[Path], Any] = load_tokenizer  # of a text encoder
    wrapping: str = ""  # a prefix that is part of its own names
    stored: bool = False
    quantised: Literal["", "weights", "arithmetic"] = ""
    large: bool = False
    prefix: str = ""
    gguf: str = ""
    ends: tuple[str, ...] = ()  # modules that files keep whole: the picture hangs on each number
    skipped: tuple[str, ...] = ()  # the same, as a bitsandbytes config lists them
    adapted: bool = False  # whether LoRAs change it
