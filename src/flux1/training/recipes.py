"""Recipes: everything that makes a shipped file from nothing, as one TOML file.

    sprites -> autoencoder -> sentence encoder -> (encoded scenes -> transformer) per phase
            -> a folder `flux1` loads

A stage whose result lies in the run's folder is not done again, so an interrupted run goes on
where it stopped.
"""

import copy
import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from rich.console import Console
from rich.progress import Progress

from flux1.errors import DataError, nearest
from flux1.model.autoencoder import Autoencoder
from flux1.model.transformer import Transformer
from flux1.pipeline.encode import SentenceTextEncoder
from flux1.pipeline.pipeline import FluxPipeline
from flux1.training.autoencoder import AutoencoderObjective, start_precise
from flux1.training.data import EncodedScenes, encode_scenes, latent_statistics
from flux1.training.grounding import GroundingObjective
from flux1.training.loop import LoopSettings, train
from flux1.training.rectified_flow import RectifiedFlowObjective, initialise
from flux1.training.scenes import Mixture
from flux1.training.sprites import Sprites, prepare_sprites
from flux1.training.text import fetch_sentence_model
from flux1.variants import SentenceText, Variant, find
from flux1.weights.load import SentenceTextParts, load_autoencoder, load_bert
from flux1.weights.safetensors import read_json, write_json
from flux1.weights.save import save_bfl, save_model_folder

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class AutoencoderStage:
    """`kl_weight` and `edge_weight` beside the L1 loss of `crop_size` crops."""

    loop: LoopSettings
    crop_size: PositiveInt = 64
    kl_weight: NonNegativeFloat = 1e-3
    edge_weight: NonNegativeFloat = 0.5
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class GroundingStage:
    """How the sentence encoder learns where things stand; `code_weight` as in the objective."""

    loop: LoopSettings
    code_weight: NonNegativeFloat = 0.2
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class TransformerPhase:
    """`scenes` of a mixture, composed and encoded once; `caption_dropout` of the captions become
    empty. Each phase starts from the averaged weights of the one before. `text`: the sentence
    encoder as it came, or grounded; the last phase's is the model's."""

    loop: LoopSettings
    scenes: PositiveInt
    text: Literal["plain", "grounded"] = "plain"
    mixture: Mixture = field(default_factory=Mixture)
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Recipe:
    """A whole training, from the names of packages to a folder of weights."""

    name: str
    variant: str
    picture_size: PositiveInt
    seed: NonNegativeInt
    autoencoder: AutoencoderStage
    transformer: Annotated[tuple[TransformerPhase, ...], Field(min_length=1)]
    grounding: GroundingStage | None = None
    preview_prompts: tuple[str, ...] = ("a red apple on a blue background",)
    __pydantic_config__ = _STRICT


def recipe_names() -> list[str]:
    """The recipes that come with the project."""
    folder = resources.files("flux1.training") / "recipes"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def read_recipe(name_or_path: str) -> Recipe:
    """A recipe of the project by name, or any by its .toml file (DataError says what is wrong)."""
    if name_or_path in recipe_names():
        text = (resources.files("flux1.training") / "recipes" / f"{name_or_path}.toml").read_text()
    elif name_or_path.endswith(".toml") and Path(name_or_path).is_file():
        text = Path(name_or_path).read_text()
    else:
        known = recipe_names()
        raise DataError(
            f"recipe: no recipe and no .toml file {name_or_path!r}{nearest(name_or_path, known)}; "
            f"known: {', '.join(known)}"
        )
    try:
        recipe = TypeAdapter(Recipe).validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as failure:
        raise DataError(f"recipe: {name_or_path} is not TOML: {failure}") from failure
    except ValidationError as failure:
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in failure.errors()]
        raise DataError(f"recipe: {name_or_path}: {'; '.join(wrong)}") from failure
    _check_together(recipe)
    return recipe


def _check_together(recipe: Recipe) -> None:
    """What no single key can be wrong about."""
    multiple = find(recipe.variant).size_multiple
    for name, side in (
        ("picture_size", recipe.picture_size),
        ("autoencoder.crop_size", recipe.autoencoder.crop_size),
    ):
        if side % multiple:
            near = max(multiple, round(side / multiple) * multiple)
            raise DataError(
                f"recipe: {name}: {side} is not a multiple of {multiple}; nearest: {near}"
            )
    for i, phase in enumerate(recipe.transformer):
        if phase.scenes < phase.loop.batch_size:
            raise DataError(
                f"recipe: transformer.{i}.scenes: {phase.scenes} is less than one batch of "
                f"{phase.loop.batch_size}"
            )
        if phase.text == "grounded" and recipe.grounding is None:
            raise DataError(
                f"recipe: transformer.{i}.text: 'grounded' needs a [grounding] that makes it"
            )


def make(recipe: Recipe, folder: Path, console: Console, device: torch.device) -> Path:
    """Run all stages in `folder`; returns the finished model's folder (loadable by its path)."""
    variant = find(recipe.variant)
    if not isinstance(variant.text, SentenceText):
        raise DataError(f"recipe: {recipe.name}: {variant.id} has no sentence encoder to train on")
    _claim(folder, recipe)

    sprites_path = folder / "sprites.npz"
    if not sprites_path.exists():
        console.print("fetching and rendering the drawings")
        prepare_sprites(sprites_path)
    sprites = Sprites.open(sprites_path)
    language = fetch_sentence_model(folder / "text", variant.text.bert)
    language.bert.to(device)
    languages = {"plain": language}
    if recipe.grounding is not None:
        console.print("sentence encoder")
        languages["grounded"] = ground(
            recipe, recipe.grounding, variant.text, language, folder / "grounding", console, device
        )

    console.print("autoencoder")
    autoencoder = make_autoencoder(
        recipe, variant, sprites, folder / "autoencoder", console, device
    )

    torch.manual_seed(recipe.seed)
    transformer = Transformer(variant.transformer)
    initialise(transformer)
    transformer.to(device)
    for number, phase in enumerate(recipe.transformer, start=1):
        language = languages[phase.text]
        text = SentenceTextEncoder(language.bert, language.tokenizer, variant.text.max_tokens)
        pipeline = FluxPipeline(variant, transformer, autoencoder, text, "", str(folder))
        of = f"transformer, phase {number} of {len(recipe.transformer)}"
        seed = recipe.seed + number - 1
        scenes_folder = folder / f"scenes-{number}"
        if not (scenes_folder / "latents.safetensors").exists():
            console.print(f"{of}: composing and encoding scenes")
            with Progress(console=console) as progress:
                encode_scenes(
                    scenes_folder, autoencoder, sprites, recipe.picture_size, phase.scenes, seed,
                    phase.mixture, getattr(torch, phase.loop.precision), progress,
                )  # fmt: skip
        console.print(of)
        scenes = EncodedScenes.open(scenes_folder)
        trained = train_phase(
            recipe, phase, pipeline, scenes, seed, folder / f"transformer-{number}", console
        )
        transformer.load_state_dict(trained.state_dict())

    model_folder = folder / "model"
    save_model_folder(model_folder, variant, transformer, autoencoder, language)
    return model_folder


def _claim(folder: Path, recipe: Recipe) -> None:
    """Keep the recipe in the run's folder; DataError if another one began there: its stages would
    be taken for this one's."""
    folder.mkdir(parents=True, exist_ok=True)
    mine = json.loads(json.dumps(dataclasses.asdict(recipe)))
    path = folder / "recipe.json"
    if not path.exists():
        write_json(path, mine)
        return
    theirs = read_json(path)
    changed = [key for key in mine if mine[key] != theirs.get(key)]
    if changed:
        raise DataError(
            f"recipe: {folder} was begun with another {', '.join(changed)} (see {path.name}): "
            "choose another folder with --out, or go on with the recipe as it was"
        )


def make_autoencoder(
    recipe: Recipe,
    variant: Variant,
    sprites: Sprites,
    folder: Path,
    console: Console,
    device: torch.device,
) -> Autoencoder:
    """Train (or go on, or read the finished one), then measure the latents' shift and scale."""
    stage, finished = recipe.autoencoder, folder / "autoencoder.safetensors"
    raw = dataclasses.replace(variant.autoencoder, scale_factor=1.0, shift_factor=0.0)
    if not finished.exists():
        torch.manual_seed(recipe.seed)
        model = Autoencoder(raw)
        start_precise(model)
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        objective = AutoencoderObjective(
            model, sprites, stage.loop.batch_size, recipe.seed, recipe.picture_size,
            stage.crop_size, stage.kl_weight, stage.edge_weight,
        )  # fmt: skip
        save_bfl(train(objective, stage.loop, folder, console), finished)
    model = load_autoencoder(finished, raw, torch.float32, device)
    shift, scale = latent_statistics(model, sprites, recipe.picture_size, recipe.seed)
    model.config = dataclasses.replace(raw, scale_factor=scale, shift_factor=shift)
    return model


def ground(
    recipe: Recipe,
    stage: GroundingStage,
    text: SentenceText,
    language: SentenceTextParts,
    folder: Path,
    console: Console,
    device: torch.device,
) -> SentenceTextParts:
    """A sentence encoder that says where things stand: train (or go on), or read the finished."""
    finished = folder / "text_encoder.safetensors"
    if not finished.exists():
        objective = GroundingObjective(
            copy.deepcopy(language.bert), language.tokenizer, stage.loop.batch_size, recipe.seed,
            text.max_tokens, stage.code_weight,
        )  # fmt: skip
        save_bfl(train(objective, stage.loop, folder, console), finished)
    bert = load_bert(finished, text.bert, torch.float32).to(device)
    return SentenceTextParts(bert, language.tokenizer)


def train_phase(
    recipe: Recipe,
    phase: TransformerPhase,
    pipeline: FluxPipeline,
    scenes: EncodedScenes,
    seed: int,
    folder: Path,
    console: Console,
) -> Transformer:
    """Train (or go on with) a pipeline's transformer on encoded scenes; returns the average."""
    side = recipe.picture_size // pipeline.variant.size_multiple
    objective = RectifiedFlowObjective(
        pipeline, scenes, recipe.preview_prompts, phase.loop.batch_size, seed,
        phase.caption_dropout, (side, side),
    )  # fmt: skip
    return train(objective, phase.loop, folder, console)
