"""What may be asked of a finetuning run: completed for the model, checked once, frozen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from flux1.errors import DataError, nearest
from flux1.model.config import TransformerConfig
from flux1.training.log import check_loggers
from flux1.variants import Variant
from flux1.weights.lora.save import LAYOUTS
from flux1.weights.numbers.keep import Keep
from flux1.weights.numbers.quantize import Quantization

WIDTH = TransformerConfig().hidden_size  # FLUX.1's, for which the usual rates are known
LORA_RATE, FULL_RATE = 1e-4, 1e-5  # at that width
TOKENS, PICTURES = 4096, 8  # of a batch that is not asked for: image tokens, pictures at most
RANK = 16


@dataclass(frozen=True)
class FinetuneSettings:
    """All that decides what is learnt.

    `resolutions` are the sides of squares that have the wanted areas; `guidance` is what a network
    that embeds it is told while it learns; `alpha` / `rank` is a LoRA's strength, `layers` those
    that it changes. `keep` and `quantize`: how the frozen weights beside it are held. `adamw8bit`
    has its moments in a byte a number.
    """

    method: Literal["lora", "full"]
    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    resolutions: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    guidance: NonNegativeFloat | None
    precision: Literal["float32", "bfloat16"]
    rank: PositiveInt | None
    alpha: PositiveFloat | None
    layers: Literal["attention", "blocks", "all"] | None
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.05
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    warmup_steps: NonNegativeInt = 20
    weight_decay: NonNegativeFloat = 0.01
    seed: NonNegativeInt = 0
    keep: Keep = "plain"
    quantize: Quantization | None = None
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"


@dataclass(frozen=True)
class Pictures:
    """Where a run's pictures are: the folder, words for those that have none, and the name under
    which metadata and data sets keep theirs."""

    folder: Path
    caption: str | None = None
    column: str = "text"


@dataclass(frozen=True)
class RunOptions:
    """What a run does beside learning; nothing of it changes what is learnt. `recompute`: of each
    block, for the gradient, what could be kept instead. `layout` is the LoRA file's."""

    prompts: tuple[str, ...] = ()
    preview_every: int = 250
    checkpoint_every: int = 100
    log_every: int = 10
    loggers: tuple[str, ...] = ()
    recompute: bool = False
    layout: str = "diffusers"


def choose_settings(
    variant: Variant, dtype: torch.dtype, processes: int = 1, **given: Any
) -> FinetuneSettings:
    """Complete settings: what is None in `given` takes what suits the variant and the `dtype`.

    The learning rate is the usual one at FLUX.1's width, and in inverse proportion to the width
    elsewhere (arXiv 2203.03466). DataError names the field that cannot be so.
    """
    told = {name: value for name, value in given.items() if value is not None}
    lora = told.setdefault("method", "lora") == "lora"
    _refuse_what_has_no_effect(told, variant, lora)
    embeds, defaults = variant.transformer.guidance_embed, variant.defaults
    rate = (LORA_RATE if lora else FULL_RATE) * WIDTH / variant.transformer.hidden_size
    usual: dict[str, Any] = {
        "steps": 1000,
        "learning_rate": float(f"{rate:.2g}"),
        "resolutions": (round((defaults.width * defaults.height) ** 0.5),),
        "guidance": 1.0 if embeds else None,
        "precision": str(dtype).removeprefix("torch."),
        "rank": RANK if lora else None,
        "alpha": told.get("rank", RANK) if lora else None,
        "layers": "blocks" if lora else None,
    }
    told = usual | told
    told.setdefault("batch_size", _usual_batch(max(told["resolutions"]), variant, processes))
    try:
        settings = TypeAdapter(FinetuneSettings).validate_python(told)
    except ValidationError as failure:
        first = failure.errors()[0]
        words = first["msg"][0].lower() + first["msg"][1:]
        raise DataError(f"{first['loc'][0]}: {first['input']!r}: {words}") from failure
    _check_together(settings, variant, processes)
    return settings


def check_options(options: RunOptions) -> None:
    """DataError or DependencyError for what no run can do."""
    check_loggers(options.loggers)
    if options.layout not in LAYOUTS:
        raise DataError(
            f"format: {options.layout!r} is not one of {', '.join(LAYOUTS)}"
            f"{nearest(options.layout, LAYOUTS)}"
        )


def _refuse_what_has_no_effect(told: dict[str, Any], variant: Variant, lora: bool) -> None:
    for name in ("rank", "alpha", "layers"):
        if not lora and name in told:
            raise DataError(f"{name}: {told[name]!r} has no effect when all weights are trained")
    for name in ("keep", "quantize"):
        if not lora and told.get(name, "plain") != "plain":
            raise DataError(f"{name}: {told[name]!r}: weights that are trained are kept plain")
    if "guidance" in told and not variant.transformer.guidance_embed:
        raise DataError(
            f"guidance: {told['guidance']} would have no effect: {variant.id} is not told a scale"
        )


def _usual_batch(side: int, variant: Variant, processes: int) -> int:
    """As many pictures as TOKENS are, of each process at least one."""
    tokens = max(1, side**2 // variant.size_multiple**2)
    pictures = min(PICTURES, max(1, TOKENS // tokens))
    return -(-pictures // processes) * processes


def _check_together(settings: FinetuneSettings, variant: Variant, processes: int) -> None:
    least, most = 4 * variant.size_multiple, int(variant.max_pixels**0.5)
    for side in settings.resolutions:
        if not least <= side <= most:
            near = min(max(side, least), most)
            raise DataError(f"resolution: {side} is not from {least} to {most}; nearest: {near}")
    if processes > 1 and settings.method == "full" and settings.optimizer == "adamw8bit":
        raise DataError(
            "optimizer: adamw8bit keeps its moments in blocks, which processes cannot share out; "
            "take adamw, or one process"
        )
    if settings.batch_size % processes:
        near = max(processes, round(settings.batch_size / processes) * processes)
        raise DataError(
            f"batch_size: {settings.batch_size} is no multiple of the {processes} processes; "
            f"nearest: {near}"
        )
