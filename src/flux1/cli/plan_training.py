"""`flux1 plan train`: how a model can be finetuned in given memory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from flux1.errors import Flux1Error
from flux1.variants import Variant

if TYPE_CHECKING:
    from flux1.pipeline.plan import Device
    from flux1.pipeline.rates import Rates
    from flux1.pipeline.room import Room
    from flux1.training.finetune.plan import TrainingEstimate
    from flux1.weights.sources import Source

WIDTH = 100  # of the table; where the terminal has less, its lines wrap


def plan_training(
    found: "Variant | Source",
    room: "Room",
    rates: "Mapping[Device, Rates]",
    processes: int,
    as_json: bool,
    **asked: Any,
) -> None:
    """Print the ways to train with these settings (`choose_settings` completes them).

    Flux1Error if none fits; DataError for settings that cannot be.
    """
    import torch

    from flux1.pipeline.ledger import ledger_of
    from flux1.training.finetune.plan import plan_training as ways_in

    dtypes: dict[Device, torch.dtype] = {"cpu": torch.float32}
    if room.vram is not None:
        dtypes = {"cuda": torch.bfloat16, **dtypes}
    ledger = ledger_of(found)
    estimates = ways_in(ledger, room, dtypes, rates, processes, **asked)
    if all(one.lacks for one in estimates):
        raise _too_little(ledger.variant, room, estimates)
    if as_json:
        typer.echo(json.dumps(_report(found, ledger.variant, room, processes, estimates)))
    else:
        _show(found, ledger.variant, room, processes, estimates)


def _too_little(
    variant: Variant, room: "Room", estimates: "Sequence[TrainingEstimate]"
) -> Flux1Error:
    from flux1.pipeline.memory import bytes_text
    from flux1.training.finetune.plan import least

    one = least(estimates)
    here = bytes_text(room.ram if one.vram is None or room.vram is None else room.vram)
    kind = "memory" if one.vram is None else "graphics memory"
    wanted = bytes_text(one.ram if one.vram is None else one.vram)
    return Flux1Error(
        f"memory: {here} of {kind} is too little to train {variant.id} so; the least that does is "
        f"{wanted}, with {_options(one) or 'no more options'}"
    )


def _options(one: "TrainingEstimate") -> str:
    """What `flux1 train lora` is told for this way."""
    settings = one.way.settings
    words = [
        f"--quantize {settings.quantize}" if settings.quantize else "",
        f"--keep {settings.keep}" if settings.keep != "plain" else "",
        "--gradient-checkpointing" if one.way.recompute else "",
    ]
    return " ".join(filter(None, words))


def _show(
    found: "Variant | Source",
    variant: Variant,
    room: "Room",
    processes: int,
    estimates: "Sequence[TrainingEstimate]",
) -> None:
    from rich.console import Console
    from rich.table import Table

    from flux1.pipeline.memory import bytes_text
    from flux1.training.finetune.plan import kept_bytes, preview_bytes

    settings = estimates[0].way.settings
    card = "" if room.vram is None else f" and {bytes_text(room.vram)} of graphics memory"
    here = "" if not isinstance(found, Variant) else ", sizes as published: its files are not here"
    what = "all weights" if settings.method == "full" else f"a LoRA of rank {settings.rank}"
    sizes = " and ".join(f"{side}x{side}" for side in settings.resolutions)
    shared = "" if processes == 1 else f" on {processes} processes, each"
    typer.echo(
        f"{what} of {variant.id}, {settings.batch_size} pictures of {sizes} a step{shared} in "
        f"{bytes_text(room.ram)}{card}{here}\n"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("", "on", "options"):
        table.add_column(heading)
    for heading in ("prepares", "trains", *(["card"] if card else []), "memory", "a step"):
        table.add_column(heading, justify="right")
    for one in estimates:
        vram = [] if not card else ["" if one.vram is None else bytes_text(one.vram)]
        table.add_row(
            one.lacks or "fits", one.way.device, _options(one), bytes_text(one.preparing),
            bytes_text(one.training.total), *vram, bytes_text(one.ram), _seconds(one.step_s),
            style="dim" if one.lacks else "",
        )  # fmt: skip
    Console(width=max(WIDTH, Console().width)).print(table)
    picture, caption = (bytes_text(size) for size in kept_bytes(variant, settings))
    checkpoint = bytes_text(estimates[0].checkpoint)
    preview = bytes_text(preview_bytes(variant, settings))
    typer.echo(
        f"\nto draw a --validation-prompt takes {preview} in the place of a step's own memory\n"
        f"disk: a checkpoint {checkpoint}, two while one is written; cached {picture} a picture, "
        f"{caption} a caption"
    )


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _report(
    found: "Variant | Source",
    variant: Variant,
    room: "Room",
    processes: int,
    estimates: "Sequence[TrainingEstimate]",
) -> dict[str, Any]:
    """The `--json` object: bytes and seconds."""
    from flux1.training.finetune.plan import kept_bytes, preview_bytes

    settings = estimates[0].way.settings
    picture, caption = kept_bytes(variant, settings)
    return {
        "model": variant.id,
        "files": not isinstance(found, Variant),
        "processes": processes,
        "ram": room.ram,
        "vram": room.vram,
        "preview": preview_bytes(variant, settings),
        "checkpoint": estimates[0].checkpoint,
        "cached": {"picture": picture, "caption": caption},
        "ways": [
            {
                "device": one.way.device,
                "gradient_checkpointing": one.way.recompute,
                "settings": asdict(one.way.settings),
                "preparing": one.preparing, "loading": one.loading,
                "training": asdict(one.training), "ram": one.ram, "vram": one.vram,
                "step_s": one.step_s, "lacks": one.lacks,
            }
            for one in estimates
        ],
    }  # fmt: skip
