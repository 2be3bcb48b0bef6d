"""Where a model's files are: in the package, a folder, among `models`, or Hugging Face's cache.

Three layouts are known by their files. `flux1`: model.json and three safetensors (how flux-mini
ships). `diffusers`: transformer/, vae/, text_encoder/ and the rest, each with a config.json that
decides its shape. `bfl`: flux1-dev.safetensors, ae.safetensors and the text encoders' files.
Nothing here uses the network or reads the environment.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from flux1 import variants
from flux1.errors import MissingWeightsError, UnknownModelError, WeightsError
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config, TransformerConfig
from flux1.variants import FLUX_DEV, FLUX_SCHNELL, VARIANTS, FluxText, SentenceText, Variant
from flux1.weights.safetensors import expected_files, read_header, read_json

MODEL_JSON = "model.json"
MODEL_FILES = (
    "transformer.safetensors",
    "autoencoder.safetensors",
    "text_encoder.safetensors",
    "tokenizer.json",
)
DIFFUSERS_PARTS = "transformer/ vae/ text_encoder/ text_encoder_2/ tokenizer/ tokenizer_2/"
LARGEST_NUMBER = 10**6  # of a layer, in a config.json
SLICES, SLICE = 64, 4096  # what a model's hash reads of each file's data


@dataclass(frozen=True)
class Files:
    """The paths of a model's parts: a file each, or a folder of shards. Text: CLIP, then T5."""

    transformer: Path
    autoencoder: Path
    text: tuple[Path, ...]
    tokenizers: tuple[Path, ...]


@dataclass(frozen=True)
class Source:
    """A model that can be loaded: its row, with the shapes that its files have, and the files.

    `root` is the folder that holds them; both are None where the weights are random.
    """

    variant: Variant
    layout: Literal["flux1", "diffusers", "bfl", "random"]
    root: Path | None
    files: Files | None

    @cached_property
    def model_hash(self) -> str:
        """Twelve hex digits that name these weights: a fingerprint, not a proof.

        The first digits of the sha256 over each safetensors file's part, name, size, header and
        64 evenly spread slices of 4 KiB, and over the latents' shift and scale. It costs
        megabytes, not 24 GB; it does not depend on the folder or the machine. Slices are read
        because models of equal shape ([dev] and Krea) have equal headers; a change that misses
        every slice goes unseen. Of random weights, it is over the shapes.
        """
        variant = self.variant
        digest = hashlib.sha256()
        if self.files is None:
            parts = (variant.transformer, variant.autoencoder, variant.text)
            shapes = [asdict(part) for part in parts]
            digest.update(json.dumps(shapes, sort_keys=True).encode())
            return digest.hexdigest()[:12]
        latents = variant.autoencoder
        digest.update(f"{latents.shift_factor} {latents.scale_factor}".encode())
        paths = (self.files.transformer, self.files.autoencoder, *self.files.text)
        for number, path in enumerate(paths):
            for file in expected_files(path):
                digest.update(f"{number} {file.name} {file.stat().st_size}".encode())
                digest.update(_sample(file))
        return digest.hexdigest()[:12]


def locate(
    model: Variant | str | Path, models: Path | None = None, cache: Path | None = None
) -> Source:
    """Find the files of a variant (or its name), or of the model in a folder.

    Looks, in order, in the package, `models/<id>`, `models/<repository's last part>` and Hugging
    Face's cache (`cache`, by default where that library keeps it). A name that is no variant's may
    be a folder's, also inside `models`. A folder without a row of its own gets the defaults and
    the licence of FLUX.1 [dev] if its network embeds guidance, else of [schnell].

    UnknownModelError: no such name. MissingWeightsError: which files, where from, where to.
    WeightsError: damaged files, or parts that do not fit together.
    """
    try:
        if isinstance(model, Variant):
            return _of_variant(model, models, cache)
        if isinstance(model, Path):
            return _of_folder(model, None)
        return _of_name(model, models, cache)
    except OSError as failure:
        raise unreadable(failure) from failure


def unreadable(failure: OSError) -> WeightsError:
    """What the system said of a file or folder, as one line."""
    name = str(failure.filename or "a weight file")
    shown = name if len(name) <= 200 else f"{name[:200]}..."
    return WeightsError(f"{shown}: cannot be read: {failure.strerror}")


def _of_name(name: str, models: Path | None, cache: Path | None) -> Source:
    if not isinstance(name, str):
        raise UnknownModelError(f"model: {name!r} is neither a name nor a path")
    try:
        return _of_variant(variants.find(name), models, cache)
    except UnknownModelError:
        for folder in (Path(name), *([models / name] if models else [])):
            if name and folder.is_dir():
                return _of_folder(folder, None)
        raise


def verify(source: Source) -> None:
    """WeightsError unless the files have the sha256 that their model.json says (other layouts say
    nothing)."""
    folder = source.root
    if source.layout != "flux1" or folder is None:
        return
    told = read_json(folder / MODEL_JSON).get("sha256")
    if not isinstance(told, dict):
        raise WeightsError(f"{folder / MODEL_JSON}: has no sha256 of its files")
    for name in MODEL_FILES:
        if told.get(name) != sha256(folder / name):
            raise WeightsError(
                f"{folder / name}: is not the file that {MODEL_JSON} was written for"
            )


def sha256(file: Path) -> str:
    """Hex digest of a whole file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def transformer_config(config: dict[str, Any]) -> TransformerConfig:
    """A FluxTransformer2DModel's config.json (absent keys have FLUX.1's values).

    WeightsError if it is of another network.
    """
    _demand(config, {"_class_name": "FluxTransformer2DModel", "patch_size": 1})
    heads = config.get("num_attention_heads", 24)
    in_channels = config.get("in_channels", 64)
    return TransformerConfig(
        in_channels=in_channels,
        out_channels=config.get("out_channels") or in_channels,
        vec_in_dim=config.get("pooled_projection_dim", 768),
        context_in_dim=config.get("joint_attention_dim", 4096),
        hidden_size=heads * config.get("attention_head_dim", 128),
        num_heads=heads,
        depth=config.get("num_layers", 19),
        depth_single_blocks=config.get("num_single_layers", 38),
        axes_dim=tuple(config.get("axes_dims_rope", (16, 56, 56))),
        guidance_embed=bool(config.get("guidance_embeds", False)),
    )


def autoencoder_config(config: dict[str, Any]) -> AutoencoderConfig:
    """An AutoencoderKL's config.json. WeightsError if it is not built as FLUX.1's is."""
    _demand(
        config,
        {
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "mid_block_add_attention": True,
        },
    )
    widths = config.get("block_out_channels")
    if not isinstance(widths, list) or not widths or any(w % widths[0] for w in widths):
        raise WeightsError(f"block_out_channels {widths} are not multiples of the first")
    return AutoencoderConfig(
        in_channels=config.get("in_channels", 3),
        channels=widths[0],
        channel_mult=tuple(width // widths[0] for width in widths),
        res_blocks=config.get("layers_per_block", 1),
        latent_channels=config.get("latent_channels", 4),
        norm_groups=config.get("norm_num_groups", 32),
        scale_factor=config.get("scaling_factor", 0.18215),
        shift_factor=config.get("shift_factor") or 0.0,
    )


def clip_config(config: dict[str, Any]) -> ClipConfig:
    """A CLIPTextModel's config.json. WeightsError if it is not of CLIP-L's kind."""
    _demand(config, {"model_type": "clip_text_model", "hidden_act": "quick_gelu"})
    return ClipConfig(
        vocab_size=config.get("vocab_size", 49_408),
        hidden_size=config.get("hidden_size", 512),
        intermediate_size=config.get("intermediate_size", 2048),
        num_layers=config.get("num_hidden_layers", 12),
        num_heads=config.get("num_attention_heads", 8),
        max_length=config.get("max_position_embeddings", 77),
    )


def t5_config(config: dict[str, Any]) -> T5Config:
    """A T5EncoderModel's config.json. WeightsError if it is not of T5 v1.1's kind."""
    _demand(
        config,
        {
            "model_type": "t5",
            "feed_forward_proj": "gated-gelu",
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
        },
    )
    return T5Config(
        vocab_size=config.get("vocab_size", 32_128),
        hidden_size=config.get("d_model", 512),
        head_dim=config.get("d_kv", 64),
        intermediate_size=config.get("d_ff", 2048),
        num_layers=config.get("num_layers", 6),
        num_heads=config.get("num_heads", 8),
    )


def _sample(file: Path) -> bytes:
    """The header of a safetensors file and slices of its data."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        parts = [stream.read(int.from_bytes(stream.read(8), "little"))]
        start = stream.tell()
        for i in range(SLICES):
            stream.seek(start + (size - start) * i // SLICES)
            parts.append(stream.read(SLICE))
    return b"".join(parts)


def _of_variant(variant: Variant, models: Path | None, cache: Path | None) -> Source:
    if variant.weights == "random":
        return Source(variant, "random", None, None)
    for folder in _places(variant, models, cache):
        if folder.is_dir():
            return _of_folder(folder, variant)
    if variant.weights == "shipped":
        raise MissingWeightsError(
            f"{variant.id}: missing {_shipped(variant) / MODEL_JSON}, which this package ships; "
            "install it again"
        )
    last = _last_part(variant)
    raise MissingWeightsError(
        f"{variant.id}: its weights are not on this machine; missing {DIFFUSERS_PARTS}: get them "
        f"from https://huggingface.co/{variant.repository} and put them into "
        f"{models / last if models else f'a folder {last}/ and its parent into FLUX1_MODELS'}"
    )


def _places(variant: Variant, models: Path | None, cache: Path | None) -> Iterator[Path]:
    yield _shipped(variant)
    if models is not None:
        yield models / variant.id
        if variant.repository:
            yield models / _last_part(variant)
    if variant.repository:
        yield from _cached(variant.repository, cache)


def _shipped(variant: Variant) -> Path:
    return Path(str(resources.files("flux1"))) / "shipped" / variant.id


def _last_part(variant: Variant) -> str:
    return (variant.repository or variant.id).rpartition("/")[2]


def _bfl_name(variant: Variant) -> str:
    """FLUX.1-Krea-dev to flux1-krea-dev.safetensors."""
    return _last_part(variant).lower().replace(".", "") + ".safetensors"


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


def _of_folder(folder: Path, variant: Variant | None) -> Source:
    if not folder.is_dir():
        kind = "is a file; name the folder that holds it" if folder.is_file() else "no such folder"
        raise MissingWeightsError(f"{folder}: {kind}")
    if (folder / MODEL_JSON).is_file():
        return _flux1_layout(folder, variant)
    if (folder / "transformer" / "config.json").is_file():
        return _diffusers_layout(folder, variant)
    if any(folder.glob("flux1-*.safetensors")):
        return _bfl_layout(folder, variant)
    if (folder / "model_index.json").is_file():
        return _diffusers_layout(folder, variant)
    raise MissingWeightsError(
        f"{folder}: holds no model; missing {DIFFUSERS_PARTS} (or flux1-*.safetensors "
        f"and the rest, or {MODEL_JSON})" + _from_where(variant)
    )


def _flux1_layout(folder: Path, variant: Variant | None) -> Source:
    told = read_json(folder / MODEL_JSON)
    try:
        row = variants.find(told["variant"])
        shift, scale = float(told["latents"]["shift"]), float(told["latents"]["scale"])
    except (UnknownModelError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise WeightsError(f"{folder / MODEL_JSON}: needs a known variant and latents") from e
    if not (math.isfinite(shift) and math.isfinite(scale) and scale > 0):
        raise WeightsError(
            f"{folder / MODEL_JSON}: latents need a finite shift and a positive scale, "
            f"not {shift} and {scale}"
        )
    if not isinstance(row.text, SentenceText):
        raise WeightsError(f"{folder / MODEL_JSON}: {row.id} is not kept in this layout")
    if variant is not None and row.id != variant.id:
        raise WeightsError(f"{folder}: holds {row.id}, not {variant.id}")
    paths = [folder / name for name in MODEL_FILES]
    _require(folder, [path for path in paths if not path.is_file()], row)
    autoencoder = replace(row.autoencoder, shift_factor=shift, scale_factor=scale)
    row = replace(row, autoencoder=autoencoder)
    return Source(row, "flux1", folder, Files(paths[0], paths[1], (paths[2],), (paths[3],)))


def _diffusers_layout(folder: Path, variant: Variant | None) -> Source:
    stems = {
        "transformer": "diffusion_pytorch_model",
        "vae": "diffusion_pytorch_model",
        "text_encoder": "model",
        "text_encoder_2": "model",
    }
    missing = [
        file
        for part, stem in stems.items()
        for file in (folder / part / "config.json", *expected_files(folder / part, stem))
        if not file.is_file()
    ]
    _require(folder, missing + _missing_tokenizers(folder), variant)
    transformer = _config(folder / "transformer", transformer_config)
    if variant is None:
        variant = _row_for(folder.resolve().name, transformer.guidance_embed)
    row = replace(
        variant,
        transformer=transformer,
        autoencoder=_config(folder / "vae", autoencoder_config),
        text=_flux_text(folder, variant),
    )
    _check_fit(folder, row, variant)
    parts = Files(folder / "transformer", folder / "vae", _encoders(folder), _tokenizers(folder))
    return Source(row, "diffusers", folder, parts)


def _bfl_layout(folder: Path, variant: Variant | None) -> Source:
    found = sorted(folder.glob("flux1-*.safetensors"))
    transformer = found[0] if variant is None else folder / _bfl_name(variant)
    if variant is None and len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise WeightsError(f"{folder}: holds several models: {names}; give each its own folder")
    autoencoder = folder / "ae.safetensors"
    encoders = _encoders(folder)
    files = [transformer, autoencoder, *(f for part in encoders for f in expected_files(part))]
    missing = [file for file in files if not file.is_file()]
    _require(folder, missing + _missing_tokenizers(folder), variant)
    embeds = "guidance_in.in_layer.weight" in read_header(transformer)
    if variant is None:
        known = [row for row in VARIANTS if row.repository and _bfl_name(row) == transformer.name]
        variant = known[0] if known else _row_for(folder.resolve().name, embeds)
    row = replace(
        variant,
        transformer=replace(variant.transformer, guidance_embed=embeds),
        text=_flux_text(folder, variant),
    )
    _check_fit(folder, row, variant)
    return Source(
        row, "bfl", folder, Files(transformer, autoencoder, encoders, _tokenizers(folder))
    )


def _row_for(name: str, guidance_embed: bool) -> Variant:
    """The row of a folder that was given by path: the one of its name, or one like it."""
    for row in VARIANTS:
        if name.lower() in (row.id, _last_part(row).lower()) and isinstance(row.text, FluxText):
            return row
    like = FLUX_DEV if guidance_embed else FLUX_SCHNELL
    return replace(like, id=name, title=f"{name}, as {like.title}", aliases=(), repository=None)


def _encoders(folder: Path) -> tuple[Path, Path]:
    """CLIP's and T5's weights: a folder each as diffusers has them, or a file each."""
    clip, t5 = folder / "text_encoder", folder / "text_encoder_2"
    t5_files = sorted(folder.glob("t5xxl_*.safetensors"))
    if len(t5_files) > 1 and not t5.is_dir():
        names = ", ".join(file.name for file in t5_files)
        raise WeightsError(f"{folder}: holds several T5 encoders: {names}; keep one")
    return (
        clip if clip.is_dir() else folder / "clip_l.safetensors",
        t5 if t5.is_dir() else (t5_files or [folder / "t5xxl_fp16.safetensors"])[0],
    )


def _tokenizers(folder: Path) -> tuple[Path, Path]:
    return folder / "tokenizer", folder / "tokenizer_2"


def _missing_tokenizers(folder: Path) -> list[Path]:
    clip, t5 = _tokenizers(folder)
    wanted = ((clip, ("tokenizer.json", "vocab.json")), (t5, ("tokenizer.json", "spiece.model")))
    return [
        place / either[0]
        for place, either in wanted
        if not any((place / name).is_file() for name in either)
    ]


def _flux_text(folder: Path, variant: Variant) -> FluxText:
    """The text shapes: those of the folder's config.json files, else the row's."""
    text = variant.text
    if isinstance(text, SentenceText):
        raise WeightsError(f"{folder}: holds CLIP and T5, {variant.id} has a sentence encoder")
    clip, t5 = folder / "text_encoder", folder / "text_encoder_2"
    return replace(
        text,
        clip=_config(clip, clip_config) if clip.is_dir() else text.clip,
        t5=_config(t5, t5_config) if t5.is_dir() else text.t5,
    )


def _check_fit(folder: Path, row: Variant, wanted: Variant) -> None:
    """WeightsError unless the parts fit each other and the network is of the wanted kind."""
    shape, text = row.transformer, row.text
    if shape.guidance_embed != wanted.transformer.guidance_embed:
        has = "embeds" if shape.guidance_embed else "does not embed"
        raise WeightsError(f"{folder}: its transformer {has} guidance, unlike {wanted.id}'s")
    if not isinstance(text, FluxText):
        return
    pairs = (
        ("in_channels", shape.in_channels, 4 * row.autoencoder.latent_channels),
        ("out_channels", shape.out_channels, 4 * row.autoencoder.latent_channels),
        ("pooled width", shape.vec_in_dim, text.clip.hidden_size),
        ("text width", shape.context_in_dim, text.t5.hidden_size),
    )
    for name, width, needs in pairs:
        if width != needs:
            raise WeightsError(
                f"{folder}: the transformer's {name} is {width}, the other parts have {needs}"
            )


def _config(folder: Path, read: Any) -> Any:
    """Read a folder's config.json, saying which file an error is about."""
    file = folder / "config.json"
    try:
        found = read(read_json(file))
        _check_numbers(found)
        return found
    except WeightsError as failure:
        if str(file) in str(failure):
            raise
        raise WeightsError(f"{file}: {failure}") from failure
    except (TypeError, ValueError, ArithmeticError) as failure:
        raise WeightsError(f"{file}: does not describe a network: {failure}") from failure


def _check_numbers(config: Any) -> None:
    """WeightsError for a number that no network of this kind has."""
    for field in fields(config):
        value = getattr(config, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if field.type is float:
                fits = isinstance(number, (int, float)) and math.isfinite(number)
            else:
                fits = isinstance(number, int) and 0 <= number <= LARGEST_NUMBER
            if not fits:
                raise WeightsError(f"{field.name} cannot be {number!r}")


def _demand(config: dict[str, Any], values: dict[str, Any]) -> None:
    """WeightsError if a key is there with another value than the only one that is supported."""
    for key, value in values.items():
        if config.get(key, value) != value:
            raise WeightsError(f"{key} is {config[key]!r}, only {value!r} is supported")


def _require(folder: Path, missing: list[Path], variant: Variant | None) -> None:
    if missing:
        names = ", ".join(str(path.relative_to(folder)) for path in missing)
        raise MissingWeightsError(f"{folder}: missing {names}" + _from_where(variant))


def _from_where(variant: Variant | None) -> str:
    if variant is None or variant.repository is None:
        return ""
    return f"; get it from https://huggingface.co/{variant.repository}"
