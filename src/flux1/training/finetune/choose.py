"""Settings of a finetuning run, completed for the model and checked once."""

from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from flux1.errors import DataError, nearest
from flux1.model.config import TransformerConfig
from flux1.training.finetune.settings import FinetuneSettings, RunOptions
from flux1.training.log import check_loggers
from flux1.variants import Variant
from flux1.weights.lora.save import LAYOUTS

WIDTH = TransformerConfig().hidden_size  # FLUX.1's, for which the usual rates are known
LORA_RATE, FULL_RATE = 1e-4, 1e-5  # at that width
TOKENS, PICTURES = 4096, 8  # of a batch that is not asked for: image tokens, pictures at most
RANK = 16


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
    for name in ("rank", "alpha", "layers", "only"):
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
