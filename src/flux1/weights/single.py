"""A single file to a model: the transformer is in it; the other parts are in it too (all in one),
beside it, or among the user's models. Where a part is a folder with a config.json, that tells its
shape, else its tensors do.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flux1.errors import MissingWeightsError, WeightsError
from flux1.variants import Variant
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.files.open import SUFFIXES
from flux1.weights.files.safetensors import within
from flux1.weights.kinds.family import check_fit, page_of, row_for
from flux1.weights.kinds.kind import Kind, NetworkKind
from flux1.weights.kinds.table import KINDS, PUBLISHED
from flux1.weights.model_files import Files, Source


def of_file(file: Path, variant: Variant | None, places: Sequence[Path] = ()) -> Source:
    """The model whose transformer is in `file`; what is not in it is looked for in its folder and
    then in `places`.

    MissingWeightsError: what was not found, and where to get it. WeightsError: the file is damaged,
    of another model, or does not fit the parts that were found.
    """
    whole = Checkpoint(file)
    shape = whole.config("transformer")
    row = variant or row_for(file.stem, shape)
    if row.text.t5 is None:
        raise WeightsError(f"{file}: is not of {row.id}, which has a sentence encoder")
    look = (file.parent, *places)
    inside = {part.kind for part in whole.parts}
    found = {one.id: whole if one.id in inside else _beside(one, look) for one in PUBLISHED}
    words = next((place for place in look if not missing_tokenizers(place)), None)
    lacking = [KINDS[kind].places.usual for kind, one in found.items() if one is None]
    if words is None:
        lacking += [str(path.relative_to(file.parent)) for path in missing_tokenizers(file.parent)]
    networks = {kind: one for kind, one in found.items() if one is not None}
    if lacking or words is None:
        raise MissingWeightsError(
            f"{file.parent}: missing {', '.join(lacking)}; get it from "
            f"https://huggingface.co/{page_of(row)}"
        )
    fitted = replace(
        row,
        transformer=shape,
        autoencoder=networks["autoencoder"].config("autoencoder"),
        text=replace(
            row.text, clip=networks["clip"].config("clip"), t5=networks["t5"].config("t5")
        ),
    )
    check_fit(file, fitted, row)
    return Source(fitted, "file", file, Files(networks, tokenizer_folders(words)))


def tokenizer_folders(place: Path) -> dict[Kind, Path]:
    """CLIP's and T5's, as diffusers calls them."""
    return {row.id: place / row.places.words for row in PUBLISHED if row.places.words}


def missing_tokenizers(place: Path) -> list[Path]:
    """The tokenizer files that `place` lacks; one of each folder's kinds is enough."""
    return [
        folder / KINDS[kind].places.word_files[0]
        for kind, folder in tokenizer_folders(place).items()
        if not any((folder / name).is_file() for name in KINDS[kind].places.word_files)
    ]


def _beside(row: NetworkKind, looked: Sequence[Path]) -> Checkpoint | None:
    """The first of the places that has this network: a folder as diffusers makes it, or one
    file."""
    names = row.places
    for place in looked:
        usual = place / names.folder
        if (usual / "config.json").is_file():
            return Checkpoint(within(place, usual))
        for folder in (place, *(place / name for name in (names.folder, *names.others))):
            if (file := _one_file(row, folder, names.stems)) is not None:
                return Checkpoint(within(folder, file))
    return None


def _one_file(row: NetworkKind, folder: Path, stems: Sequence[str]) -> Path | None:
    """The file in a folder that is called by the first of the stems that any has."""
    for stem in stems:
        known = (file for file in folder.glob(f"{stem}.*") if file.suffix in SUFFIXES)
        files = sorted(file for file in known if file.is_file())
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise WeightsError(f"{folder}: holds {names}: each {row.title}; keep one")
        if files:
            return files[0]
    return None
