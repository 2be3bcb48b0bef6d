"""`flux1 plan train`: how a model can be finetuned in given memory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from flux1.errors import Flux1Error
from flux1.variants import Variant

if TYPE_CHECKING:
    from rich.table import Table

    from flux1.pipeline.device_speed import DeviceSpeed
    from flux1.pipeline.memory_limit import MemoryLimit
    from flux1.pipeline.plan import Device
    from flux1.training.finetune.plan import TrainingEstimate
    from flux1.weights.sources import Source

WIDTH = 100  # of the table; where the terminal has less, its lines wrap


def plan_training(
    found: "Variant | Source",
    limit: "MemoryLimit",
    speeds: "Mapping[Device, DeviceSpeed]",
    processes: int,
    as_json: bool,
    **asked: Any,
) -> None:
    """Print the ways to train with these settings (`choose_settings` completes them).

    Flux1Error if none fits; DataError for settings that cannot be.
    """
    import torch

    from flux1.pipeline.model_cost import model_cost
    from flux1.training.finetune.plan import plan_training as placements_in

    dtypes: dict[Device, torch.dtype] = {"cpu": torch.float32}
    if limit.vram is not None:
        dtypes = {"cuda": torch.bfloat16, **dtypes}
    costs = model_cost(found)
    estimates = placements_in(costs, limit, dtypes, speeds, processes, **asked)
    if all(one.lacks for one in estimates):
        raise _too_little(costs.variant, limit, estimates)
    if as_json:
        typer.echo(json.dumps(_report(found, costs.variant, limit, processes, estimates)))
    else:
        _show(found, costs.variant, limit, processes, estimates)


def _too_little(
    variant: Variant, limit: "MemoryLimit", estimates: "Sequence[TrainingEstimate]"
) -> Flux1Error:
    from flux1.pipeline.memory import bytes_text
    from flux1.training.finetune.plan import least

    one = least(estimates)
    here = bytes_text(limit.ram if one.vram is None or limit.vram is None else limit.vram)
    kind = "memory" if one.vram is None else "graphics memory"
    wanted = bytes_text(one.ram if one.vram is None else one.vram)
    return Flux1Error(
        f"memory: {here} of {kind} is too little to train {variant.id} so; the least that does is "
        f"{wanted}, with {_options(one) or 'no more options'}"
    )


def _options(one: "TrainingEstimate") -> str:
    """The options of `flux1 train lora` for this placement."""
    settings = one.placement.settings
    words = [
        f"--quantize {settings.quantize}" if settings.quantize else "",
        f"--keep {settings.keep}" if settings.keep != "plain" else "",
        "--gradient-checkpointing" if one.placement.recompute else "",
    ]
    return " ".join(filter(None, words))


def _show(
    found: "Variant | Source",
    variant: Variant,
    limit: "MemoryLimit",
    processes: int,
    estimates: "Sequence[TrainingEstimate]",
) -> None:
    from rich.console import Console

    from flux1.pipeline.memory import bytes_text
    from flux1.training.finetune.footprint import checkpoints_kept
    from flux1.training.finetune.plan import kept_bytes, preview_bytes

    settings = estimates[0].placement.settings
    card = "" if limit.vram is None else f" and {bytes_text(limit.vram)} of graphics memory"
    here = "" if not isinstance(found, Variant) else ", sizes as published: its files are not here"
    what = "all weights" if settings.method == "full" else f"a LoRA of rank {settings.rank}"
    sizes = " and ".join(f"{side}x{side}" for side in settings.resolutions)
    shared = "" if processes == 1 else f" on {processes} processes, each"
    typer.echo(
        f"{what} of {variant.id}, {settings.batch_size} pictures of {sizes} a step{shared} in "
        f"{bytes_text(limit.ram)}{card}{here}\n"
    )
    Console(width=max(WIDTH, Console().width)).print(_table(estimates, bool(card)))
    picture, caption = (bytes_text(size) for size in kept_bytes(variant, settings))
    checkpoint = bytes_text(estimates[0].checkpoint)
    preview = bytes_text(preview_bytes(variant, settings))
    typer.echo(
        f"\nto draw a --validation-prompt takes {preview} in the place of a step's own memory\n"
        f"disk: a checkpoint {checkpoint}, at most {checkpoints_kept(settings)} of them in "
        f"{settings.steps} steps; cached {picture} a picture, {caption} a caption"
    )


def _table(estimates: "Sequence[TrainingEstimate]", card: bool) -> "Table":
    from rich.table import Table

    from flux1.pipeline.memory import bytes_text

    table = Table(box=None, pad_edge=False)
    for heading in ("", "on", "options"):
        table.add_column(heading)
    for heading in ("prepares", "trains", *(["card"] if card else []), "memory", "a step"):
        table.add_column(heading, justify="right")
    for one in estimates:
        vram = [] if not card else ["" if one.vram is None else bytes_text(one.vram)]
        table.add_row(
            one.lacks or "fits",
            one.placement.device,
            _options(one),
            bytes_text(one.preparing),
            bytes_text(one.training.total),
            *vram,
            bytes_text(one.ram),
            seconds_text(one.step_s),
            style="dim" if one.lacks else "",
        )
    return table


def seconds_text(seconds: float | None) -> str:
    """A time for a person, in seconds or minutes; "?" if it is not known."""
    if seconds is None:
        return "?"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _report(
    found: "Variant | Source",
    variant: Variant,
    limit: "MemoryLimit",
    processes: int,
    estimates: "Sequence[TrainingEstimate]",
) -> dict[str, Any]:
    """The `--json` object: bytes and seconds."""
    from flux1.training.finetune.footprint import checkpoints_kept
    from flux1.training.finetune.plan import kept_bytes, preview_bytes

    settings = estimates[0].placement.settings
    picture, caption = kept_bytes(variant, settings)
    return {
        "model": variant.id,
        "files": not isinstance(found, Variant),
        "processes": processes,
        "ram": limit.ram,
        "vram": limit.vram,
        "preview": preview_bytes(variant, settings),
        "checkpoint": estimates[0].checkpoint,
        "checkpoints": checkpoints_kept(settings),
        "cached": {"picture": picture, "caption": caption},
        "placements": [
            {
                "device": one.placement.device,
                "gradient_checkpointing": one.placement.recompute,
                "settings": asdict(one.placement.settings),
                "preparing": one.preparing,
                "loading": one.loading,
                "training": asdict(one.training),
                "ram": one.ram,
                "vram": one.vram,
                "step_s": one.step_s,
                "lacks": one.lacks,
            }
            for one in estimates
        ],
    }
