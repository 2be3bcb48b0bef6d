"""A single file to a model: the transformer is in it; the other parts are in it too (all in one),
beside it, or among the user's models. Where a part is a folder with a config.json, that tells its
shape, else its tensors do.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flux1.errors import MissingWeightsError, WeightsError
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config
from flux1.variants import FluxText, Variant
from flux1.weights.files.open import SUFFIXES, naming, open_tensors
from flux1.weights.files.safetensors import within
from flux1.weights.kinds.keys import read_config
from flux1.weights.model_files import Files, Source
from flux1.weights.recognise.configs import autoencoder_config, clip_config, t5_config
from flux1.weights.recognise.family import check_fit, page_of, row_for
from flux1.weights.recognise.parts import TITLES, Kind, open_part, split
from flux1.weights.recognise.shapes import (
    autoencoder_shape,
    clip_shape,
    t5_shape,
    transformer_shape,
)

STEMS: dict[Kind, tuple[str, ...]] = {  # what such files are called, the most exact first
    "autoencoder": ("ae", "flux_ae*", "flux*vae*"),
    "clip": ("clip_l*",),
    "t5": ("t5xxl_fp16*", "t5xxl_bf16*", "t5xxl*", "t5-v1_1-xxl*"),
}
USUAL: dict[Kind, str] = {  # what to ask for when there is none
    "autoencoder": "ae.safetensors",
    "clip": "clip_l.safetensors",
    "t5": "t5xxl_fp16.safetensors",
}
FOLDERS: dict[Kind, tuple[str, ...]] = {  # diffusers', then ComfyUI's
    "autoencoder": ("vae",),
    "clip": ("text_encoder", "text_encoders", "clip"),
    "t5": ("text_encoder_2", "text_encoders", "clip"),
}


def of_file(file: Path, variant: Variant | None, places: Sequence[Path] = ()) -> Source:
    """The model whose transformer is in `file`; what is not in it is looked for in its folder and
    then in `places`.

    MissingWeightsError: what was not found, and where to get it. WeightsError: the file is damaged,
    of another model, or does not fit the parts that were found.
    """
    with naming(file):
        state = open_tensors(file)
        inside = {part.kind for part in split(state)[0]}
        shape = transformer_shape(open_part(file, "transformer"))
    row = variant or row_for(file.stem, shape)
    if not isinstance(row.text, FluxText):
        raise WeightsError(f"{file}: is not of {row.id}, which has a sentence encoder")
    look = (file.parent, *places)
    found = {kind: file if kind in inside else _beside(kind, look) for kind in USUAL}
    words = next((place for place in look if not missing_tokenizers(place)), None)
    autoencoder, clip, t5 = found["autoencoder"], found["clip"], found["t5"]
    if autoencoder is None or clip is None or t5 is None or words is None:
        lacking = [USUAL[kind] for kind, path in found.items() if path is None]
        if words is None:
            lacking += [
                str(path.relative_to(file.parent)) for path in missing_tokenizers(file.parent)
            ]
        raise MissingWeightsError(
            f"{file.parent}: missing {', '.join(lacking)}; get it from "
            f"https://huggingface.co/{page_of(row)}"
        )
    fitted = replace(
        row,
        transformer=shape,
        autoencoder=_autoencoder(autoencoder),
        text=replace(row.text, clip=_clip(clip), t5=_t5(t5)),
    )
    check_fit(file, fitted, row)
    return Source(
        fitted, "file", file, Files(file, autoencoder, (clip, t5), tokenizer_folders(words))
    )


def tokenizer_folders(place: Path) -> tuple[Path, Path]:
    """CLIP's and T5's, as diffusers calls them."""
    return place / "tokenizer", place / "tokenizer_2"


def missing_tokenizers(place: Path) -> list[Path]:
    """The tokenizer files that `place` lacks; one of each folder's kinds is enough."""
    clip, t5 = tokenizer_folders(place)
    wanted = ((clip, ("tokenizer.json", "vocab.json")), (t5, ("tokenizer.json", "spiece.model")))
    return [
        folder / either[0]
        for folder, either in wanted
        if not any((folder / name).is_file() for name in either)
    ]


def _beside(kind: Kind, places: Sequence[Path]) -> Path | None:
    """The first of `places` that has this part: a folder as diffusers makes it, or one file."""
    for place in places:
        usual = place / FOLDERS[kind][0]
        if (usual / "config.json").is_file():
            return within(place, usual)
        for folder in (place, *(place / name for name in FOLDERS[kind])):
            for stem in STEMS[kind]:
                known = (file for file in folder.glob(f"{stem}.*") if file.suffix in SUFFIXES)
                files = sorted(file for file in known if file.is_file())
                if len(files) > 1:
                    names = ", ".join(file.name for file in files)
                    raise WeightsError(f"{folder}: holds {names}: each {TITLES[kind]}; keep one")
                if files:
                    return within(folder, files[0])
    return None


def _autoencoder(path: Path) -> AutoencoderConfig:
    if path.is_dir():
        return read_config(path, autoencoder_config)
    with naming(path):
        return autoencoder_shape(open_part(path, "autoencoder"))


def _clip(path: Path) -> ClipConfig:
    if path.is_dir():
        return read_config(path, clip_config)
    with naming(path):
        return clip_shape(open_part(path, "clip"))


def _t5(path: Path) -> T5Config:
    if path.is_dir():
        return read_config(path, t5_config)
    with naming(path):
        return t5_shape(open_part(path, "t5"))
