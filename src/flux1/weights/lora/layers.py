"""The changes that a LoRA file's tensors make to one layer.

scale = alpha / rank: alpha from the layer's own `.alpha`, else from PEFT's configuration, else
equal to the rank. Every shape is checked against the layer before anything is computed.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from flux1.errors import WeightsError
from flux1.model.lora_changes import (
    Change,
    Delta,
    Full,
    Hadamard,
    Kronecker,
    LinearDelta,
    LowRank,
    NormDelta,
)
from flux1.weights.files.lazy import StoredTensors
from flux1.weights.files.safetensors import read_json
from flux1.weights.lora import names as lora_names
from flux1.weights.lora.names import Target

PEFT_METADATA = "lora_adapter_metadata"  # diffusers' key for PEFT's configuration
PEFT_STEM, PEFT_CONFIG = "adapter_model", "adapter_config.json"  # the files that PEFT saves
WIDER = "img_in"  # a control LoRA's reads a control picture beside the noise
LARGEST_NUMBER = 1e30
Roles = Mapping[str, str]  # what a tensor is of its layer, to the tensor's name


class LayerReader:
    """Reads one file's layers. Its errors are WeightsErrors that name the tensor."""

    def __init__(self, file: Path, tensors: StoredTensors) -> None:
        self._tensors = tensors
        self._peft = _peft_config(file, tensors.metadata)

    def delta(self, layer: str, target: Target, roles: Roles) -> Delta | None:
        """The change that a layer's tensors make to it; None if it cannot be made."""
        if not target.inputs:
            return self._norm(target, roles)
        if "set" in roles:
            return None
        change, bias = self._change(layer, target, roles), self._bias(layer, target, roles)
        if change is None and "magnitude" in roles:
            raise WeightsError(f"{roles['magnitude']}: a magnitude without its change")
        if change is None and bias is None:
            return None
        inputs = change.down.shape[1] if isinstance(change, LowRank) else target.inputs
        return LinearDelta(
            target.start,
            target.stop,
            change,
            bias,
            None if change is None else self._magnitude(target, roles),
            target.swapped,
            wide=inputs > target.inputs,
        )

    def _norm(self, target: Target, roles: Roles) -> NormDelta | None:
        if len(roles) > 1 or not roles.keys() <= {"set", "diff"}:
            return None
        ((role, name),) = roles.items()
        vector = self._tensor(name)
        self._demand(name, vector, vector.shape == (target.stop,), target)
        return NormDelta(vector, replaces=role == "set")

    def _change(self, layer: str, target: Target, roles: Roles) -> Change | None:
        rows = target.stop - target.start
        if "down" in roles or "up" in roles:
            down, up = self._pair(roles, "down", "up")
            inputs = down.shape[1]
            wide = target.module == WIDER and inputs > target.inputs and "magnitude" not in roles
            self._demand(roles["down"], down, inputs == target.inputs or wide, target)
            self._demand(roles["up"], up, up.shape[0] == rows, target)
            return LowRank(down, up, self._scale(layer, roles, down.shape[0]))
        if any(role.startswith("hada") for role in roles):
            factors = [self._pair(roles, f"hada_w{i}_b", f"hada_w{i}_a") for i in (1, 2)]
            for i, (down, up) in enumerate(factors, 1):
                self._demand(roles[f"hada_w{i}_b"], down, down.shape[1] == target.inputs, target)
                self._demand(roles[f"hada_w{i}_a"], up, up.shape[0] == rows, target)
            (down1, up1), (down2, up2) = factors
            return Hadamard(up1, down1, up2, down2, self._scale(layer, roles, down1.shape[0]))
        if any(role.startswith("lokr") for role in roles):
            return self._kronecker(layer, target, roles)
        if "diff" in roles:
            matrix = self._matrix(roles["diff"])
            self._demand(roles["diff"], matrix, matrix.shape == (rows, target.inputs), target)
            return Full(matrix)
        return None

    def _kronecker(self, layer: str, target: Target, roles: Roles) -> Kronecker:
        factors: list[tuple[Tensor, ...]] = []
        rank = None
        for factor in ("lokr_w1", "lokr_w2"):
            if factor in roles:
                factors.append((self._matrix(roles[factor]),))
            else:
                down, up = self._pair(roles, f"{factor}_b", f"{factor}_a")
                factors.append((up, down))
                rank = down.shape[0]
        rows = math.prod(parts[0].shape[0] for parts in factors)
        inputs = math.prod(parts[-1].shape[1] for parts in factors)
        if (rows, inputs) != (target.stop - target.start, target.inputs):
            raise WeightsError(
                f"{layer}: its factors make {rows} x {inputs}, {_size(target)}: "
                "a LoRA for another model"
            )
        left, right = (
            parts[0].float() if len(parts) == 1 else parts[0].float() @ parts[1].float()
            for parts in factors
        )
        # LyCORIS: two whole factors have no rank to divide alpha by, and are taken as they are
        whole = rank is None and not self._peft
        return Kronecker(left, right, 1.0 if whole else self._scale(layer, roles, rank))

    def _bias(self, layer: str, target: Target, roles: Roles) -> Tensor | None:
        total = None
        for role in ("up_bias", "diff_b"):
            if role not in roles:
                continue
            bias = self._tensor(roles[role]).float()
            right = bias.shape == (target.stop - target.start,)
            self._demand(roles[role], bias, right, target)
            if role == "up_bias":  # of the low-rank pair, so scaled with it
                down, _ = self._pair(roles, "down", "up")
                bias = bias * self._scale(layer, roles, down.shape[0])
            total = bias if total is None else total + bias
        if total is not None and target.swapped:
            total = total.roll(len(total) // 2)
        return total

    def _magnitude(self, target: Target, roles: Roles) -> Tensor | None:
        """n_out x 1 or 1 x n_in."""
        if "magnitude" not in roles:
            return None
        rows = target.stop - target.start
        found = self._tensor(roles["magnitude"])
        if found.shape in ((rows,), (rows, 1)):
            column = found.reshape(rows, 1)
            return column.roll(rows // 2, 0) if target.swapped else column
        self._demand(roles["magnitude"], found, found.shape == (1, target.inputs), target)
        return found

    def _scale(self, layer: str, roles: Roles, rank: int | None) -> float:
        if "alpha" in roles:
            alpha = self._tensor(roles["alpha"])
            if alpha.numel() != 1:
                raise WeightsError(f"{roles['alpha']}: {tuple(alpha.shape)} is not one number")
            return float(alpha) / rank if rank else 1.0
        module = lora_names.bare(layer)
        alphas = _matching(self._peft.get("alpha_pattern"), module)
        scales = [*alphas, self._peft.get("lora_alpha"), self._peft.get("alpha")]
        found = next((number for number in scales if number is not None), None)
        patterns = self._peft.get("rank_pattern")
        stated = _matching(patterns, module) or ([] if patterns else [self._peft.get("r")])
        if rank is not None and stated and _is_number(stated[0]) and stated[0] != rank:
            raise WeightsError(
                f"{layer}: has rank {rank}, its configuration says {stated[0]}: one of them is of "
                "another LoRA"
            )
        ranks = [rank, *_matching(patterns, module), self._peft.get("r")]
        size = next((number for number in ranks if number is not None), None)
        if not _is_number(found) or not _is_number(size) or size <= 0:
            return 1.0
        return found / (math.sqrt(size) if self._peft.get("use_rslora") else size)

    def _pair(self, roles: Roles, down: str, up: str) -> tuple[Tensor, Tensor]:
        """Two factors that go together: rank x n_in, n_out x rank."""
        if down not in roles or up not in roles:
            have = ", ".join(roles.values())
            raise WeightsError(f"{have}: a factor is missing; download it again")
        first, second = self._matrix(roles[down]), self._matrix(roles[up])
        if second.shape[1] != first.shape[0]:
            raise WeightsError(
                f"{roles[down]}: rank {first.shape[0]}, its other half has {second.shape[1]}"
            )
        return first, second

    def _matrix(self, name: str) -> Tensor:
        tensor = self._tensor(name)
        if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):  # written as a 1x1 convolution
            tensor = tensor.flatten(1)
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise WeightsError(f"{name}: {tuple(tensor.shape)} is not a matrix")
        return tensor

    def _tensor(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        if not tensor.is_floating_point():
            raise WeightsError(f"{name}: {tensor.dtype} numbers, a LoRA has floating-point ones")
        if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            tensor = tensor.float()
        if not tensor.isfinite().all():
            raise WeightsError(f"{name}: holds numbers that are not finite")
        return tensor

    def _demand(self, name: str, tensor: Tensor, right: bool, target: Target) -> None:
        if not right:
            shape = tuple(tensor.shape)
            raise WeightsError(
                f"{name}: {shape} does not fit, {_size(target)}: a LoRA for another model"
            )


def is_zero(delta: Delta) -> bool:
    """Return whether a change is none: an untrained or a blanked-out layer."""
    if isinstance(delta, NormDelta):
        return not (delta.replaces or delta.vector.any())
    if delta.magnitude is not None or (delta.bias is not None and delta.bias.any()):
        return False
    match delta.change:
        case LowRank(down, up, scale):
            return not (scale and down.any() and up.any())
        case Kronecker(left, right, scale):
            return not (scale and left.any() and right.any())
        case Hadamard(up1, down1, up2, down2, scale):
            return not (scale and up1.any() and down1.any() and up2.any() and down2.any())
        case Full(matrix):
            return not matrix.any()
    return True


def _size(target: Target) -> str:
    rows = target.stop - target.start
    size = f"{rows} x {target.inputs}" if target.inputs else str(rows)
    return f"{target.module} of this model has {size}"


def _peft_config(file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """PEFT's configuration of the transformer's adapter: in the metadata, or beside the file."""
    text = metadata.get(PEFT_METADATA)
    if text is None:
        beside = file.with_name(PEFT_CONFIG)
        return read_json(beside) if file.stem == PEFT_STEM and beside.is_file() else {}
    try:
        found = json.loads(text)
        return {
            key.removeprefix("transformer."): value
            for key, value in found.items()
            if not key.startswith("text_encoder")
        }
    except (ValueError, AttributeError, RecursionError) as failure:
        raise WeightsError(f"its {PEFT_METADATA} cannot be read: {failure}") from failure


def _matching(patterns: object, module: str) -> list[object]:
    """The entries of those patterns that are the module's name or its end, as PEFT reads them."""
    if not isinstance(patterns, dict):
        return []
    return [value for pattern, value in patterns.items() if _is_end(pattern, module)]


def _is_end(pattern: str, module: str) -> bool:
    """PEFT's patterns are regular expressions; one from a file is not run, but what tools write is
    names, whose dots stand for themselves."""
    name = pattern.removeprefix("^").replace("\\.", ".")
    return module == name or (not pattern.startswith("^") and module.endswith(f".{name}"))


def _is_number(value: object) -> TypeGuard[float]:
    """Return whether a number from a file can be computed with; its integers may have any
    length."""
    small = isinstance(value, (int, float)) and abs(value) < LARGEST_NUMBER  # false for nan
    return small and not isinstance(value, bool)
