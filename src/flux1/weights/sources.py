"""Finds a model: in the package, a folder, a file, among `models`, or in Hugging Face's cache.

What a folder holds, weights/layouts.py tells; what goes with a single file, weights/single.py.
Nothing here uses the network or reads the environment.
"""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from flux1 import variants
from flux1.errors import MissingWeightsError, UnknownModelError
from flux1.variants import VARIANTS, Variant
from flux1.weights.files.disk import unreadable
from flux1.weights.files.open import SUFFIXES
from flux1.weights.kinds.family import last_part, named_row
from flux1.weights.layouts import DIFFUSERS_PARTS, of_folder
from flux1.weights.model_files import MODEL_JSON, Source
from flux1.weights.single import of_file


def locate(
    model: Variant | str | Path, models: Path | None = None, cache: Path | None = None
) -> Source:
    """Find the files of a variant (or its name), or of the model in a folder or a file.

    Looks, in order, in the package, `models/<id>`, `models/<repository's last part>` and Hugging
    Face's cache (`cache`, by default where that library keeps it). A name that is no variant's may
    be a folder's or a file's, also inside `models`. What a single file lacks (text encoders,
    autoencoder, tokenizers) is looked for beside it, then in those places of the variant that it
    is like, in `models` itself, and in the places of the other FLUX.1 variants. A model without a
    row of its own gets the defaults and the licence of FLUX.1 [dev] if its network embeds
    guidance, else of [schnell].

    UnknownModelError: no such name. MissingWeightsError: which files, where from, where to.
    WeightsError: damaged files, or parts that do not fit together.
    """
    try:
        if isinstance(model, Variant):
            return _of_variant(model, models, cache)
        if isinstance(model, Path):
            return _of_path(model, models, cache)
        return _of_name(model, models, cache)
    except OSError as failure:
        raise unreadable(failure) from failure


def _of_name(name: str, models: Path | None, cache: Path | None) -> Source:
    if not isinstance(name, str):
        raise UnknownModelError(f"model: {name!r} is neither a name nor a path")
    try:
        return _of_variant(variants.find(name), models, cache)
    except UnknownModelError:
        for path in (Path(name), *([models / name] if models else [])):
            if name and path.exists():
                return _of_path(path, models, cache)
        if Path(name).suffix in SUFFIXES:
            raise MissingWeightsError(f"{name}: no such file") from None
        raise


def _of_path(path: Path, models: Path | None, cache: Path | None) -> Source:
    name = path.stem if path.is_file() else path.resolve().name
    places = list(_shared(named_row(name), models, cache))
    if path.is_file():
        return of_file(path, None, places)
    return of_folder(path, None, places)


def _of_variant(variant: Variant, models: Path | None, cache: Path | None) -> Source:
    if variant.weights == "random":
        return Source(variant, "random", None, None)
    for folder in _places(variant, models, cache):
        if folder.is_dir():
            return of_folder(folder, variant, list(_shared(variant, models, cache)))
    if variant.weights == "shipped":
        raise MissingWeightsError(
            f"{variant.id}: missing {_shipped(variant) / MODEL_JSON}, which this package ships; "
            "install it again"
        )
    raise MissingWeightsError(
        f"{variant.id}: its weights are not on this machine; {_how_to_get(variant, models)}"
    )


def _how_to_get(variant: Variant, models: Path | None) -> str:
    """Return where weights that are missing come from, and where they are looked for."""
    if variant.repository is None:
        return "they are published nowhere; a recipe makes them: flux1 train --list"
    last = last_part(variant)
    place = models / last if models else f"a folder {last}/, whose parent FLUX1_MODELS names"
    return (
        f"get them with `flux1 download {variant.id}`, or put {DIFFUSERS_PARTS} of "
        f"https://huggingface.co/{variant.repository} into {place}"
    )


def _places(variant: Variant, models: Path | None, cache: Path | None) -> Iterator[Path]:
    yield _shipped(variant)
    if models is not None:
        yield models / variant.id
        if variant.repository:
            yield models / last_part(variant)
    if variant.repository:
        yield from _cached(variant.repository, cache)


def _shipped(variant: Variant) -> Path:
    return Path(str(resources.files("flux1"))) / "shipped" / variant.id


def _shared(variant: Variant | None, models: Path | None, cache: Path | None) -> Iterator[Path]:
    """Return where the parts may lie that all FLUX.1 models have in common."""
    if variant is not None:
        yield from _places(variant, models, cache)
    if models is not None:
        yield models
    for other in VARIANTS:
        if other is not variant and other.text.t5 is not None:
            yield from _places(other, models, cache)


def _cached(repository: str, cache: Path | None) -> Iterator[Path]:
    """The snapshot of a repository in Hugging Face's cache, if that library and it are there."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return
    for name in ("model_index.json", "ae.safetensors"):
        found = try_to_load_from_cache(repository, name, cache_dir=cache)
        if isinstance(found, str):
            yield Path(found).parent
