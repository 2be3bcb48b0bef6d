"""Recipes: everything that makes a shipped file from nothing, as one TOML file (make.py carries it
out)."""

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from flux1.errors import DataError, nearest
from flux1.training.loop import LoopSettings
from flux1.training.mini.worlds_of_recipes import WORLDS
from flux1.variants import find

_STRICT = ConfigDict(extra="forbid")
Size = Annotated[str, Field(pattern=r"^[1-9]\d*x[1-9]\d*$")]


@dataclass(frozen=True)
class GrownStage:
    """One level more at each end of a finished autoencoder, taught on crops of twice the size;
    `latent_noise` as in the objective."""

    loop: LoopSettings
    latent_noise: NonNegativeFloat = 0.3
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class AutoencoderStage:
    """`kl_weight`, `edge_weight`, `equivariance` and `latent_noise` as in the objective, on crops
    of `crop_size` pixels of a `mixture` (empty: the world's usual one). Where it is `grown`
    afterwards, it learns on pictures of half the recipe's `picture_size` first."""

    loop: LoopSettings
    crop_size: PositiveInt = 64
    kl_weight: NonNegativeFloat = 1e-3
    edge_weight: NonNegativeFloat = 0.5
    equivariance: Annotated[float, Field(ge=0, le=1)] = 0.0
    latent_noise: NonNegativeFloat = 0.0
    mixture: dict[str, float] = field(default_factory=dict)
    grown: GrownStage | None = None
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class GroundingStage:
    """A stage in which the sentence encoder learns where things stand; `code_weight` as in the
    objective."""

    loop: LoopSettings
    code_weight: NonNegativeFloat = 0.2
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class TransformerPhase:
    """`scenes`: how many of each size ("256x192": width, height) of a `mixture` (shares of the
    world's kinds of scenes; empty: its usual ones), composed and encoded once; `caption_dropout` of
    the captions become empty. A batch is of one size; the loop's `batch_size` counts pictures of
    the recipe's `picture_size`, and larger ones are fewer. Each phase starts from the averaged
    weights of the one before. `text`: the sentence encoder as it came, or grounded; the last
    phase's is the model's."""

    loop: LoopSettings
    scenes: Annotated[dict[Size, PositiveInt], Field(min_length=1)]
    text: Literal["plain", "grounded"] = "plain"
    mixture: dict[str, float] = field(default_factory=dict)
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class GuidanceStage:
    """A stage that makes a network with an input for the guidance scale, of one that needs two
    evaluations: the last phase's, which is kept as a model of the variant `teacher`. On that
    phase's scenes, at `points` points of each way to a picture (the loop's `batch_size` counts
    ways)."""

    loop: LoopSettings
    teacher: str
    scales: tuple[PositiveFloat, PositiveFloat] = (1.0, 7.0)
    points: PositiveInt = 6
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.05
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class StepStage:
    """A stage that makes a LoRA of `rank` that draws in `steps` steps, as a model of the variant
    `student`; `guidance` is the scale that it keeps. In the words and sizes of the last phase's
    scenes."""

    loop: LoopSettings
    student: str
    guidance: PositiveFloat
    rank: PositiveInt
    alpha: PositiveFloat
    steps: PositiveInt = 4
    teacher_steps: PositiveInt = 2
    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Recipe:
    """A whole training, from the names of packages to folders of weights; `world` says of what
    (one of `WORLDS`)."""

    name: str
    variant: str
    picture_size: PositiveInt
    seed: NonNegativeInt
    autoencoder: AutoencoderStage
    transformer: Annotated[tuple[TransformerPhase, ...], Field(min_length=1)]
    grounding: GroundingStage | None = None
    guidance_distillation: GuidanceStage | None = None
    step_distillation: StepStage | None = None
    world: str = "sprites"
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
        text = _text(Path(name_or_path))
    else:
        known = recipe_names()
        raise DataError(
            f"recipe: no recipe and no .toml file {name_or_path!r}{nearest(name_or_path, known)}; "
            f"known: {', '.join(known)}"
        )
    try:
        recipe = TypeAdapter(Recipe).validate_python(tomllib.loads(text))
    except ValidationError as failure:
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in failure.errors()]
        raise DataError(f"recipe: {name_or_path}: {'; '.join(wrong)}") from failure
    except (ValueError, RecursionError) as failure:
        raise DataError(f"recipe: {name_or_path} is not TOML: {failure}") from failure
    _check_together(recipe)
    return recipe


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as failure:
        raise DataError(f"recipe: {file} is not TOML: {failure}") from failure


def _check_together(recipe: Recipe) -> None:
    """Refuse a recipe whose keys contradict each other."""
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
    _check_world(recipe)
    for i, phase in enumerate(recipe.transformer):
        for size, count in phase.scenes.items():
            width, height = sides_of(size)
            if width % multiple or height % multiple:
                raise DataError(
                    f"recipe: transformer.{i}.scenes: {size}: sides must be multiples of {multiple}"
                )
            batch = phase.loop.batch_size * recipe.picture_size**2 // (width * height)
            if not 1 <= batch <= count:
                raise DataError(
                    f"recipe: transformer.{i}.scenes: {size}: {count} is less than one batch of "
                    f"{max(batch, 1)}"
                )
        if phase.text == "grounded" and recipe.grounding is None:
            raise DataError(
                f"recipe: transformer.{i}.text: 'grounded' needs a [grounding] that makes it"
            )
    distilled = recipe.guidance_distillation
    if recipe.step_distillation is not None and distilled is None:
        raise DataError(
            "recipe: step_distillation: begins at a network told the guidance: it needs a "
            "[guidance_distillation]"
        )
    if distilled is not None and distilled.scales[0] >= distilled.scales[1]:
        low, high = distilled.scales
        raise DataError(f"recipe: guidance_distillation.scales: {low} is not below {high}")


def _check_world(recipe: Recipe) -> None:
    """A known world, and mixtures of what it has."""
    if recipe.world not in WORLDS:
        raise DataError(
            f"recipe: world: no world {recipe.world!r}{nearest(recipe.world, WORLDS)}; known: "
            f"{', '.join(WORLDS)}"
        )
    mixtures = {"autoencoder.mixture": recipe.autoencoder.mixture}
    mixtures |= {f"transformer.{i}.mixture": p.mixture for i, p in enumerate(recipe.transformer)}
    for place, mixture in mixtures.items():
        try:
            WORLDS[recipe.world].mixture(**mixture)
        except (TypeError, ValueError) as wrong:
            what = str(wrong).removeprefix("Mixture.__init__() got an ")
            raise DataError(f"recipe: {place}: {what}") from None


def sides_of(size: str) -> tuple[int, int]:
    """ "256x192" to (256, 192)."""
    width, height = size.split("x")
    return int(width), int(height)
