"""Converts what a run's checkpoint has learnt to files that other commands and programs read.

A LoRA becomes its file. All weights become a folder in diffusers' layout, from which
`flux1 convert` goes on to any other.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flux1.errors import DataError, OutputError
from flux1.model.config import TransformerConfig
from flux1.model.transformer import Transformer
from flux1.training.checkpoint import read_checkpoint
from flux1.training.finetune.result import in_dtype
from flux1.weights.lora.save import LAYOUTS, save_lora
from flux1.weights.save import save_diffusers

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AVERAGED = "shadow."


def method_of(source: Path) -> str | None:
    """Return whether a file is the checkpoint of a finetuning: "lora" or "full"; None if it is
    not."""
    if source.suffix != ".pt" or not source.is_file():
        return None
    try:
        method: str | None = read_checkpoint(source).get("about", {}).get("method")
    except (DataError, AttributeError):
        return None  # a file of weights has that suffix too
    return method


def checkpoint_to_lora(source: Path, place: Path, layout: str, dtype: str | None = None) -> int:
    """Write the averaged LoRA of a checkpoint; how many layers it changes. `dtype`: fp32, bf16 or
    fp16, else the run's precision. OutputError for a layout or dtype that a LoRA's file has not, or
    if the place cannot be written."""
    state = read_checkpoint(source)
    about = dict(state["about"])
    config = TransformerConfig(**about.pop("transformer"))
    if layout not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        raise OutputError(f"to: {layout!r}: {source} is of a LoRA, which is written as {known}")
    if place.suffix != ".safetensors":
        raise OutputError(f"{place}: a LoRA is a file; call it {place.stem or 'x'}.safetensors")
    if dtype is not None and dtype not in DTYPES:
        raise OutputError(f"dtype: {dtype!r}: a LoRA is written in {', '.join(DTYPES)}")
    wanted = DTYPES[dtype] if dtype else getattr(torch, about["precision"])
    factors = in_dtype(_factors(_learnt(state)), wanted)
    save_lora(place, factors, about["alpha"], config, layout, about | {"step": state["step"]})
    return len(factors)


def checkpoint_to_folder(source: Path, folder: Path) -> None:
    """Write the averaged weights of a checkpoint, in the run's precision, as diffusers does."""
    state = read_checkpoint(source)
    about = state["about"]
    dtype = getattr(torch, about["precision"])
    with torch.device("meta"):
        network = Transformer(TransformerConfig(**about["transformer"]))
    weights = {name: value.to(dtype) for name, value in _learnt(state).items()}
    network.load_state_dict(weights, assign=True)
    save_diffusers(network, folder)


def _learnt(state: dict[str, Any]) -> dict[str, Tensor]:
    """The averaged weights; the weights themselves where no average was kept."""
    averaged = {
        name.removeprefix(AVERAGED): value
        for name, value in state["ema"].items()
        if name.startswith(AVERAGED)
    }
    return averaged or state["model"]


def _factors(learnt: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """The down and up of each layer, from the names of `LoraNetwork`."""
    stems = dict.fromkeys(name.rpartition(".")[0] for name in learnt)
    return {
        stem.removeprefix("branches.").replace("/", "."): (
            learnt[f"{stem}.down"],
            learnt[f"{stem}.up"],
        )
        for stem in stems
    }
