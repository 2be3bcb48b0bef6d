"""Tables of names, read in both directions: BFL's (ours) and diffusers'.

Every function is total: a name that the table does not hold, or that the state lacks, is an error,
and so is a part of another size.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from flux1.errors import WeightsError
from flux1.weights.files.lazy import (
    EVERY,
    LazyTensors,
    Stored,
    StoredTensors,
    derived,
    in_memory,
    joined,
    swapped,
)
from flux1.weights.kinds.kind import State

SHOWN = 5  # names listed in an error


@dataclass(frozen=True)
class Line:
    """One tensor of BFL's and the tensors of diffusers' that hold the same numbers."""

    bfl: str
    diffusers: tuple[str, ...]
    form: Literal["same", "fused", "swapped", "kernel"] = "same"
    rows: tuple[int, ...] = ()  # of each part of a fused tensor


@dataclass(frozen=True)
class Naming:
    """The names of a kind of network whose files are spelled in two ways: `table` gives every
    tensor of a network of this config."""

    table: Callable[[Any], list[Line]]

    def ours(self, state: State, dialect: str, config: Any) -> StoredTensors:
        """A file's tensors in our names, each computed when asked for. WeightsError lists unknown
        and missing names."""
        table = self.table(config)
        if dialect == "diffusers":
            return _from_diffusers(state, table)
        check_names(state.keys(), dict.fromkeys(line.bfl for line in table))
        return as_stored(state)

    def diffusers(self, state: State, config: Any) -> State:
        """Our tensors in diffusers' names, as above."""
        return _to_diffusers(state, self.table(config))

    def wanted(self, dialect: str, config: Any) -> list[str]:
        """All names, as a file in this dialect spells them."""
        table = self.table(config)
        if dialect == "diffusers":
            return [name for line in table for name in line.diffusers]
        return [line.bfl for line in table]


def check_names(found: Collection[str], wanted: Collection[str]) -> None:
    """WeightsError, one line, unless `found` and `wanted` hold the same names."""
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    faults = [
        f"{kind} {len(names)} of {total} tensors: {listed(names)}"
        for kind, names, total in (
            ("missing", missing, len(wanted)),
            ("unknown", unknown, len(found)),
        )
        if names
    ]
    if faults:
        raise WeightsError("; ".join(faults))


def listed(names: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def linear(
    bfl: str,
    *diffusers: str,
    form: Literal["same", "fused", "swapped"] = "same",
    rows: tuple[int, ...] = (),
) -> Iterator[Line]:
    """Weight and bias: rows of the one are entries of the other, so both move alike."""
    for kind in ("weight", "bias"):
        yield Line(f"{bfl}.{kind}", tuple(f"{name}.{kind}" for name in diffusers), form, rows)


def renamed(state: Mapping[str, Tensor], rename: Callable[[str], str | None]) -> StoredTensors:
    """Each tensor under its new name; those without one are left out."""
    return StoredTensors(
        {
            new: tensor
            for name, tensor in as_stored(state).stored.items()
            if (new := rename(name)) is not None
        }
    )


def as_stored(state: State) -> StoredTensors:
    """Tensors in the form of those of a file, which they may be already."""
    if isinstance(state, StoredTensors):
        return state
    return StoredTensors({name: in_memory(tensor) for name, tensor in state.items()})


def _to_diffusers(state: Mapping[str, Tensor], table: list[Line]) -> Mapping[str, Tensor]:
    check_names(state.keys(), dict.fromkeys(line.bfl for line in table))
    return LazyTensors(
        {
            name: partial(_part, state, line, i)
            for line in table
            for i, name in enumerate(line.diffusers)
        }
    )


def _from_diffusers(state: Mapping[str, Tensor], table: list[Line]) -> StoredTensors:
    check_names(state.keys(), dict.fromkeys(name for line in table for name in line.diffusers))
    stored = as_stored(state).stored
    return StoredTensors(
        {line.bfl: _whole(line, [stored[name] for name in line.diffusers]) for line in table}
    )


def _part(state: Mapping[str, Tensor], line: Line, i: int) -> Shaped[Tensor, "..."]:
    """The i-th of diffusers' tensors of this line."""
    whole = state[line.bfl]
    if line.form == "fused":
        _check_rows(line.bfl, whole, sum(line.rows))
        return whole.split(line.rows)[i]
    if line.form == "swapped":
        return _swap_halves(whole)
    if line.form == "kernel":
        return whole.flatten(1)
    return whole


def _whole(line: Line, parts: list[Stored]) -> Stored:
    """BFL's tensor of this line."""
    (first, *_) = parts
    if line.form == "fused":
        for name, part, rows in zip(line.diffusers, parts, line.rows, strict=True):
            _check_rows(name, part, rows)
            if part.shape[1:] != first.shape[1:]:
                raise WeightsError(
                    f"{name}: shape {part.shape} does not go with {line.diffusers[0]}'s "
                    f"{first.shape}"
                )
        return joined(parts)
    if line.form == "swapped":
        return swapped(first)
    if line.form == "kernel":
        shape = (*first.shape[:2], 1, 1)
        return derived(
            first.dtype, shape, [first], lambda rows, part: part(EVERY).reshape(shape)[rows]
        )
    return first


def _check_rows(name: str, tensor: Tensor | Stored, rows: int) -> None:
    found = tensor.shape[0] if tensor.shape else 0
    if found != rows:
        raise WeightsError(f"{name}: {found} rows, this model has {rows}")


def _swap_halves(tensor: Shaped[Tensor, "two_d ..."]) -> Shaped[Tensor, "two_d ..."]:
    first, second = tensor.chunk(2)
    return torch.cat([second, first])
