"""A trained LoRA to a file, in the names that other programs read.

`diffusers`: PEFT's names of diffusers' layers; a fused layer's change becomes several that share
their `lora_A`. Readers of this layout disagree about where alpha is told, so the factor alpha /
rank is multiplied into `lora_B`: all of them then agree. `comfyui` and `kohya`: BFL's layers, each
with its alpha.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, tensor

from flux1.errors import OutputError, nearest
from flux1.model.config import TransformerConfig
from flux1.weights.files.dtypes import WORDS
from flux1.weights.files.write import Pending, TensorFormat, write_safetensors
from flux1.weights.kinds.transformer import transformer_table
from flux1.weights.lora.about import metadata

Layout = Literal["diffusers", "comfyui", "kohya"]
LAYOUTS: tuple[str, ...] = get_args(Layout)


def save_lora(
    file: Path,
    factors: Mapping[str, tuple[Tensor, Tensor]],
    alpha: float,
    config: TransformerConfig,
    layout: str,
    settings: Mapping[str, Any],
) -> None:
    """Write the factors (down: rank x inputs, up: outputs x rank) of BFL's modules, with the
    `settings` that they were trained with as metadata.

    OutputError for an unknown layout, or if the place cannot be written.
    """
    if layout not in LAYOUTS:
        raise OutputError(
            f"format: {layout!r} is not one of {', '.join(LAYOUTS)}{nearest(layout, LAYOUTS)}"
        )
    rank = next(iter(factors.values()))[0].shape[0]
    if layout == "diffusers":
        tensors = _diffusers(factors, alpha, config)
    elif layout == "comfyui":
        tensors = _fused(factors, alpha, "diffusion_model.", ".", ("lora_A", "lora_B"))
    else:
        tensors = _fused(factors, alpha, "lora_unet_", "_", ("lora_down", "lora_up"))
    left = float(rank) if layout == "diffusers" else alpha  # what the tensors leave to be applied
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    forms = {name: _form(tensor) for name, tensor in tensors.items()}
    told = metadata(settings, rank, left)
    write_safetensors(file, [Pending(forms, lambda: tensors)], told, lambda size: None)


def _form(tensor: Tensor) -> TensorFormat:
    return TensorFormat(WORDS[tensor.dtype], tuple(tensor.shape), tensor.nbytes)


def _diffusers(
    factors: Mapping[str, tuple[Tensor, Tensor]], alpha: float, config: TransformerConfig
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for line in transformer_table(config):
        module, _, kind = line.bfl.rpartition(".")
        if kind != "weight" or module not in factors:
            continue
        down, up = factors[module]
        up = up * (alpha / down.shape[0])
        if line.form == "swapped":
            up = up.roll(len(up) // 2, 0)
        parts = up.split(list(line.rows or (len(up),)))
        for part, rows in zip(line.diffusers, parts, strict=True):
            stem = f"transformer.{part.removesuffix('.weight')}"
            tensors[f"{stem}.lora_A.weight"] = down.clone()
            tensors[f"{stem}.lora_B.weight"] = rows.clone()
    return tensors


def _fused(
    factors: Mapping[str, tuple[Tensor, Tensor]],
    alpha: float,
    prefix: str,
    dot: str,
    words: tuple[str, str],
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for module, (down, up) in factors.items():
        stem = prefix + module.replace(".", dot)
        tensors[f"{stem}.{words[0]}.weight"] = down
        tensors[f"{stem}.{words[1]}.weight"] = up
        tensors[f"{stem}.alpha"] = tensor(alpha).to(up)
    return tensors
