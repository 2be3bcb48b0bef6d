"""Writes what was learnt to files: a LoRA, or a folder with the whole model."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flux1.errors import OutputError
from flux1.model.transformer import Transformer
from flux1.training.distributed import World, collected
from flux1.training.finetune.base_networks import BaseNetworks
from flux1.training.finetune.folder import LORA_FILE
from flux1.training.finetune.settings import FinetuneSettings, RunOptions
from flux1.training.lora import LoraNetwork
from flux1.weights.kinds.family import bfl_name
from flux1.weights.load import load_text
from flux1.weights.lora.save import save_lora
from flux1.weights.model_files import Source
from flux1.weights.save import save_bfl, save_model_folder

MODEL_FOLDER = "model"


def save_learnt(
    learner: nn.Module,
    transformer: Transformer,
    out: Path,
    parts: BaseNetworks,
    options: RunOptions,
    step: int,
    world: World,
) -> Path:
    """Write what the learner has after so many steps: a LoRA in the options' numbers, a model in
    the run's precision. All processes must call it.

    OutputError if the place cannot be written.
    """
    if isinstance(learner, LoraNetwork):
        if world.first:
            _save_lora(out / LORA_FILE, learner, parts, options, step)
        return out / LORA_FILE
    dtype = getattr(torch, parts.settings.precision)
    state = collected(transformer.state_dict())
    if world.first:
        with torch.device("meta"):
            whole = Transformer(transformer.config)
        whole.load_state_dict({name: t.to(dtype) for name, t in state.items()}, assign=True)
        _save_model(out / MODEL_FOLDER, whole, parts)
    return out / MODEL_FOLDER


def about_run(source: Source, settings: FinetuneSettings) -> dict[str, Any]:
    """Return what the files of a run say of it: the model and the settings."""
    given = {name: value for name, value in asdict(settings).items() if value is not None}
    return {"model": source.variant.id, "model_hash": source.model_hash, **given}


def _save_lora(
    file: Path, learner: LoraNetwork, parts: BaseNetworks, options: RunOptions, step: int
) -> None:
    settings, config = parts.settings, parts.source.variant.transformer
    dtype = getattr(torch, options.save_dtype or settings.precision)
    about = about_run(parts.source, settings) | {"step": step}
    factors = in_dtype(learner.factors(), dtype)
    save_lora(file, factors, learner.alpha, config, options.layout, about)


def in_dtype(
    factors: Mapping[str, tuple[Tensor, Tensor]], dtype: torch.dtype
) -> dict[str, tuple[Tensor, Tensor]]:
    """A LoRA's factors in a number format. OutputError, naming the layer, if a number does not fit
    into it (float16 ends at 65504)."""
    narrow = {name: (down.to(dtype), up.to(dtype)) for name, (down, up) in factors.items()}
    for name, pair in narrow.items():
        if not all(bool(one.isfinite().all()) for one in pair):
            raise OutputError(f"save_dtype: {name} has numbers that {dtype} cannot hold")
    return narrow


def _save_model(folder: Path, transformer: Transformer, parts: BaseNetworks) -> None:
    """The transformer, and beside it the model's other parts as they were."""
    source = parts.source
    if source.variant.text.bert is not None:
        text = load_text(source)
        save_model_folder(
            folder, source.variant, transformer, parts.autoencoder(), text, quantize=False
        )
        return
    assert source.files is not None  # random weights have a sentence encoder
    save_bfl(transformer, folder / bfl_name(source.variant))
    files = source.files
    others = (files.networks["autoencoder"], *files.text.values())
    kept = (*(one.path for one in others), *files.tokenizers.values())
    folders = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    names = ("ae", "clip_l", "t5xxl", "", "")
    for path, as_folder, as_file in zip(kept, folders, names, strict=True):
        _put(path, folder / (as_folder if path.is_dir() else as_file + path.suffix))


def _put(path: Path, place: Path) -> None:
    """A file, or a folder's files, at another place too: linked where the disk is the same, else
    copied. OutputError if it cannot be written."""
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            _put(inner, place / inner.name)
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link(path.resolve(), place)
        except OSError:
            shutil.copyfile(path, place)
    except OSError as failure:
        raise OutputError(f"{place}: cannot be written: {failure.strerror}") from failure
