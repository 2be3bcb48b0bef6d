"""A folder to a model. Three layouts are known by their files.

`flux1`: model.json and three safetensors (how flux-mini ships), or model.json and a LoRA for such a
folder beside it. `diffusers`: transformer/, vae/, text_encoder/ and the rest, each with a
config.json that decides its shape. `bfl`: one file with the transformer (flux1-dev.safetensors,
flux1-dev-Q4_0.gguf), the other parts beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flux1 import variants
from flux1.errors import MissingWeightsError, UnknownModelError, WeightsError
from flux1.variants import Variant
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.files.open import SUFFIXES
from flux1.weights.files.safetensors import expected_files, read_json, within
from flux1.weights.kinds.family import bfl_name, check_fit, named_row, row_for
from flux1.weights.kinds.keys import read_file
from flux1.weights.kinds.scheduler import scheduler_config
from flux1.weights.kinds.table import PUBLISHED
from flux1.weights.learnt import read_words, trained_sizes
from flux1.weights.model_files import (
    LORA_FILE,
    MODEL_FILES,
    MODEL_JSON,
    Files,
    Source,
    files_of,
    from_where,
    require,
)
from flux1.weights.single import missing_tokenizers, of_file, tokenizer_folders

DIFFUSERS_PARTS = "transformer/ vae/ text_encoder/ text_encoder_2/ tokenizer/ tokenizer_2/"


def of_folder(folder: Path, variant: Variant | None, places: Sequence[Path] = ()) -> Source:
    """The model in a folder; `variant` is what it must be, if that is known. What a single file
    lacks is looked for in `places` too.

    MissingWeightsError: which files. WeightsError: damaged, several, or not fitting together.
    """
    if not folder.is_dir():
        raise MissingWeightsError(f"{folder}: no such folder")
    if (folder / MODEL_JSON).is_file():
        return _flux1_layout(folder, variant)
    if (folder / "transformer" / "config.json").is_file():
        return _diffusers_layout(folder, variant)
    transformer = _transformer_file(folder, variant)
    if transformer is not None:
        return replace(of_file(transformer, variant, places), layout="bfl", root=folder)
    if (folder / "model_index.json").is_file():
        return _diffusers_layout(folder, variant)
    raise MissingWeightsError(
        f"{folder}: holds no model; missing {DIFFUSERS_PARTS} (or flux1-*.safetensors or .gguf "
        f"and the rest, or {MODEL_JSON})" + from_where(_page(variant))
    )


def _flux1_layout(folder: Path, variant: Variant | None) -> Source:
    model_json = read_json(folder / MODEL_JSON)
    if isinstance(model_json, dict) and "base" in model_json:
        return _lora_layout(folder, model_json, variant)
    try:
        row = variants.find(model_json["variant"])
        shift, scale = float(model_json["latents"]["shift"]), float(model_json["latents"]["scale"])
    except (UnknownModelError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise WeightsError(f"{folder / MODEL_JSON}: needs a known variant and latents") from e
    if not (math.isfinite(shift) and math.isfinite(scale) and scale > 0):
        raise WeightsError(
            f"{folder / MODEL_JSON}: latents need a finite shift and a positive scale, "
            f"not {shift} and {scale}"
        )
    if row.text.bert is None:
        raise WeightsError(f"{folder / MODEL_JSON}: {row.id} is not kept in this layout")
    if variant is not None and row.id != variant.id:
        raise WeightsError(f"{folder}: holds {row.id}, not {variant.id}")
    paths = [folder / name for name in MODEL_FILES]
    require(folder, [path for path in paths if not path.is_file()], row.repository)
    autoencoder = replace(row.autoencoder, shift_factor=shift, scale_factor=scale)
    row = replace(
        row, autoencoder=autoencoder, trained_sizes=trained_sizes(folder), words=read_words(folder)
    )
    return Source(row, "flux1", folder, files_of(folder))


def _lora_layout(folder: Path, model_json: dict, variant: Variant | None) -> Source:
    """A LoRA that makes another model of the one in the folder beside: for few steps, say."""
    try:
        row, guidance = variants.find(model_json["variant"]), float(model_json["guidance"])
        beside = str(model_json["base"])
    except (
        UnknownModelError, KeyError, TypeError, ValueError, AttributeError, OverflowError
    ) as e:  # fmt: skip
        raise WeightsError(f"{folder / MODEL_JSON}: needs a known variant and a guidance") from e
    if Path(beside).name != beside or not math.isfinite(guidance):
        raise WeightsError(
            f"{folder / MODEL_JSON}: needs the name of a folder beside it and a finite guidance, "
            f"not {beside!r} and {guidance}"
        )
    if variant is not None and row.id != variant.id:
        raise WeightsError(f"{folder}: holds {row.id}, not {variant.id}")
    base = of_folder(folder.parent / beside, None)
    lora = folder / LORA_FILE
    require(folder, [] if lora.is_file() else [lora], row.repository)
    if base.files is None or base.variant.transformer != replace(
        row.transformer, guidance_embed=True
    ):
        raise WeightsError(f"{folder}: {row.id} is not made of {base.variant.id} ({base.root})")
    files = replace(base.files, loras=(lora,), guidance=guidance)
    row = replace(
        row,
        autoencoder=base.variant.autoencoder,
        trained_sizes=base.variant.trained_sizes,
        words=base.variant.words,
    )
    return Source(row, "flux1", folder, files)


def _diffusers_layout(folder: Path, variant: Variant | None) -> Source:
    networks = {row.id: Checkpoint(folder / row.places.folder) for row in PUBLISHED}
    missing = [
        file
        for row in PUBLISHED
        for file in (
            within(folder, folder / row.places.folder) / "config.json",
            *expected_files(folder / row.places.folder, row.places.stem),
        )
        if not file.is_file()
    ]
    require(folder, missing + missing_tokenizers(folder), _page(variant))
    configs = {kind: checkpoint.config(kind) for kind, checkpoint in networks.items()}
    if variant is None:
        variant = row_for(folder.resolve().name, configs["transformer"])
    if variant.text.t5 is None:
        raise WeightsError(f"{folder}: holds CLIP and T5, {variant.id} has a sentence encoder")
    row = replace(
        variant,
        transformer=configs["transformer"],
        autoencoder=configs["autoencoder"],
        text=replace(variant.text, clip=configs["clip"], t5=configs["t5"]),
    )
    scheduler = folder / "scheduler" / "scheduler_config.json"
    if scheduler.is_file():
        time_shift, schedule = read_file(within(folder, scheduler), scheduler_config)
        row = replace(row, time_shift=time_shift, schedule=schedule)
    check_fit(folder, row, variant)
    return Source(row, "diffusers", folder, Files(networks, tokenizer_folders(folder)))


def _transformer_file(folder: Path, variant: Variant | None) -> Path | None:
    """The one file in `folder` that is named as FLUX.1's transformers are."""
    if variant is not None and (folder / bfl_name(variant)).is_file():
        return folder / bfl_name(variant)
    found = [
        file
        for file in sorted(folder.glob("[fF][lL][uU][xX]*"))
        if file.suffix in SUFFIXES and file.is_file() and not _is_vae(file)
    ]
    if variant is not None:
        found = [file for file in found if _may_be(file, variant)]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise WeightsError(
            f"{folder}: holds several models: {names}; name the file, or give each its own folder"
        )
    return within(folder, found[0]) if found else None


def _page(variant: Variant | None) -> str | None:
    return variant.repository if variant else None


def _may_be(file: Path, variant: Variant) -> bool:
    """Return whether the file's name is this variant's, or nobody's."""
    named = named_row(file.stem)
    return named is None or named.id == variant.id


def _is_vae(file: Path) -> bool:
    return "vae" in file.stem.lower()
