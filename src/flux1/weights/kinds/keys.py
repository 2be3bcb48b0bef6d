"""Every key that a library writes into a config file, and its fate: the value is used, or only one
is supported, or it changes nothing that is drawn. A key that no library of today writes is passed
over, as the libraries themselves do."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from flux1.errors import WeightsError
from flux1.weights.files.safetensors import read_json

ConfigFile = Mapping[str, Any]  # the contents of a config file
Config = TypeVar("Config")
Found = TypeVar("Found")
TRAINING_ONLY = frozenset({"dropout_rate", "attention_dropout", "classifier_dropout"})
LARGEST_NUMBER = 10**6  # of a layer
DEEPEST = 1000  # layers: a network is built of them before its file is looked at
DEPTHS = ("depth", "depth_single_blocks", "num_layers", "res_blocks")


@dataclass(frozen=True)
class Only:
    """A key with few values that are supported, the usual one first; `default` is what the library
    takes where the key is absent."""

    default: Any
    supported: tuple[Any, ...]


@dataclass(frozen=True)
class Keys:
    """The keys of one library's config file. `used` are those whose values become part of a
    network's config, with the library's defaults; `idle` change nothing that is drawn."""

    used: Mapping[str, Any]
    only: Mapping[str, Only] = field(default_factory=dict)
    idle: frozenset[str] = frozenset()

    @property
    def known(self) -> set[str]:
        """All of them."""
        return {*self.used, *self.only, *self.idle}

    def read(self, config_file: Mapping[str, Any]) -> dict[str, Any]:
        """The values that are used. WeightsError, naming key and value, for one that is of another
        type than the library's default, or not supported."""
        for key, only in self.only.items():
            value = config_file.get(key, only.default)
            if not any(_same(value, one) for one in only.supported):
                absent = "" if key in config_file else ", the default where it is absent"
                raise WeightsError(
                    f"{key} is {value!r}{absent}, only {only.supported[0]!r} is supported"
                )
        for key, default in self.used.items():
            _check_type(key, config_file.get(key, default), default)
        return {key: config_file.get(key, default) for key, default in self.used.items()}


def read_config(folder: Path, read: Callable[[dict[str, Any]], Config]) -> Config:
    """Read a folder's config.json with `read`. WeightsError, naming the file."""

    def checked(config_file: dict[str, Any]) -> Config:
        found = read(config_file)
        _check_numbers(found)
        return found

    return read_file(folder / "config.json", checked)


def read_file(file: Path, read: Callable[[dict[str, Any]], Found]) -> Found:
    """Read a JSON file with `read`. WeightsError, naming it, if it is none or describes nothing
    that can be built."""
    try:
        return read(read_json(file))
    except WeightsError as failure:
        if str(file) in str(failure):
            raise
        raise WeightsError(f"{file}: {failure}") from failure
    except (TypeError, ValueError, ArithmeticError) as failure:
        raise WeightsError(f"{file}: does not describe a network: {failure}") from failure


def _same(value: Any, one: Any) -> bool:
    return type(value) is type(one) and bool(value == one)


def _check_type(key: str, value: Any, default: Any) -> None:
    """WeightsError unless a value is of its default's type; a default None takes anything."""
    kinds: tuple[type, ...] = (type(default),)
    if default is None:
        return
    if isinstance(default, float):
        kinds = (int, float)
    elif isinstance(default, tuple):
        kinds = (list, tuple)
    if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
        raise WeightsError(f"{key} cannot be {value!r}")


def _check_numbers(config: Any) -> None:
    """WeightsError for a number that no network of this kind has."""
    for one in fields(config):
        value = getattr(config, one.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, str | bool | None):
                continue
            if isinstance(number, float):
                fits = math.isfinite(number)
            else:
                most = DEEPEST if one.name in DEPTHS else LARGEST_NUMBER
                fits = isinstance(number, int) and 0 <= number <= most
            if not fits:
                raise WeightsError(f"{one.name} cannot be {number!r}")
