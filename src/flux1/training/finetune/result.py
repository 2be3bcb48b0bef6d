"""What was learnt, to files: a LoRA, or a folder with the whole model."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from flux1.errors import OutputError
from flux1.model.transformer import Transformer
from flux1.training.distributed import World, collected
from flux1.training.finetune.parts import Parts
from flux1.training.lora import LoraNetwork
from flux1.weights.kinds.family import bfl_name
from flux1.weights.load import load_text
from flux1.weights.lora.save import save_lora
from flux1.weights.save import save_bfl, save_model_folder

LORA_FILE, MODEL_FOLDER = "lora.safetensors", "model"


def save_learnt(
    learner: nn.Module,
    transformer: Transformer,
    out: Path,
    parts: Parts,
    layout: str,
    world: World,
) -> Path:
    """Write what the learner has now, in the run's precision. All processes must call it.

    OutputError if the place cannot be written.
    """
    dtype = getattr(torch, parts.settings.precision)
    if isinstance(learner, LoraNetwork):
        if world.first:
            _save_lora(out / LORA_FILE, learner, dtype, parts, layout)
        return out / LORA_FILE
    state = collected(transformer.state_dict())
    if world.first:
        with torch.device("meta"):
            whole = Transformer(transformer.config)
        whole.load_state_dict({name: t.to(dtype) for name, t in state.items()}, assign=True)
        _save_model(out / MODEL_FOLDER, whole, parts)
    return out / MODEL_FOLDER


def _save_lora(
    file: Path, learner: LoraNetwork, dtype: torch.dtype, parts: Parts, layout: str
) -> None:
    factors = {
        name: (down.to(dtype), up.to(dtype)) for name, (down, up) in learner.factors().items()
    }
    source, settings = parts.source, asdict(parts.settings)
    about = {
        "model": source.variant.id,
        "model_hash": source.model_hash,
        **{name: value for name, value in settings.items() if value is not None},
    }
    save_lora(file, factors, learner.alpha, source.variant.transformer, layout, about)


def _save_model(folder: Path, transformer: Transformer, parts: Parts) -> None:
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
