"""`flux1 plan draw`: the ways to draw in given memory, for a person or as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from flux1.cli.plan_training import WIDTH, seconds_text
from flux1.request import ImageRequest
from flux1.variants import Variant

if TYPE_CHECKING:
    import torch

    from flux1.pipeline.device_speed import DeviceSpeed
    from flux1.pipeline.memory_limit import MemoryLimit
    from flux1.pipeline.plan import Device, Estimate, Workload
    from flux1.weights.numbers.quantize import Quantization
    from flux1.weights.sources import Source

    Measured = dict[tuple[Device, Quantization | None], DeviceSpeed]

QUANTIZATIONS: "tuple[Quantization | None, ...]" = (None, "int8_dynamic")


def plan_drawing(
    found: "Variant | Source",
    request: ImageRequest,
    limit: "MemoryLimit",
    dtypes: "Mapping[Device, torch.dtype]",
    speeds: "Measured",
    as_json: bool,
) -> None:
    """Print the ways to draw a request in this memory. Flux1Error if none fits."""
    from flux1.pipeline.model_cost import model_cost
    from flux1.pipeline.plan import Workload, plan, too_little

    costs = model_cost(found)
    variant = costs.variant
    workload = Workload.of(variant, [request])
    estimates = plan(costs, workload, limit, dtypes, speeds, QUANTIZATIONS)
    if all(one.lacks for one in estimates):
        raise too_little(variant, workload, limit, estimates)
    if as_json:
        typer.echo(json.dumps(_report(variant, found, workload, limit, speeds, estimates)))
        return
    _show(variant, found, limit, speeds, estimates, f"{workload.width}x{workload.height}")


def _show(
    variant: Variant,
    found: "Variant | Source",
    limit: "MemoryLimit",
    speeds: "Measured",
    estimates: "Sequence[Estimate]",
    size: str,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from flux1.pipeline.memory import bytes_text

    card = "" if limit.vram is None else f" and {bytes_text(limit.vram)} of graphics memory"
    here = "" if not isinstance(found, Variant) else ", sizes as published: its files are not here"
    typer.echo(f"{variant.id} at {size} in {bytes_text(limit.ram)}{card}{here}\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("", "on", "transformer", "text", "model offload", "decode"):
        table.add_column(heading)
    for heading in (*(["card"] if card else []), "memory", "a step", "a picture"):
        table.add_column(heading, justify="right")
    for one in estimates:
        placement = one.placement
        vram = [bytes_text(one.vram) if one.vram is not None else ""] if card else []
        table.add_row(
            one.lacks or "fits",
            placement.device,
            placement.quantize or placement.keep,
            placement.keep_text,
            placement.offload,
            "exact tiling" if placement.exact_tiling else "whole",
            *vram,
            bytes_text(one.ram),
            seconds_text(one.step_s),
            seconds_text(one.total_s),
            style="dim" if one.lacks else "",
        )
    Console(width=max(WIDTH, Console().width)).print(table)
    reached = _speeds_text(speeds)
    typer.echo(f"\ntimes are the work, counted, over what this machine just reached: {reached}")


def _speeds_text(speeds: "Measured") -> str:
    """Return the measured speeds, in words."""
    phrases = [
        f"{device} {quantize or ''}".rstrip() + f" {speed.flops / 1e9:,.0f} GFLOP/s"
        for (device, quantize), speed in speeds.items()
        if speed.flops is not None
    ]
    disks = [speed.disk for speed in speeds.values() if speed.disk is not None]
    phrases.append(f"disk {max(disks) / 1e9:.2g} GB/s" if disks else "disk not known")
    return ", ".join(phrases)


def _report(
    variant: Variant,
    found: "Variant | Source",
    workload: "Workload",
    limit: "MemoryLimit",
    speeds: "Measured",
    estimates: "Sequence[Estimate]",
) -> dict[str, Any]:
    """The `--json` object: bytes and seconds."""
    return {
        "model": variant.id,
        "files": not isinstance(found, Variant),
        "width": workload.width,
        "height": workload.height,
        "ram": limit.ram,
        "vram": limit.vram,
        "rates": [
            {"device": device, "quantize": quantize, **asdict(speed)}
            for (device, quantize), speed in speeds.items()
        ],
        "placements": [
            {
                **{k: v for k, v in asdict(one.placement).items() if k != "dtype"},
                "dtype": str(one.placement.dtype).removeprefix("torch."),
                "ram": one.ram,
                "vram": one.vram,
                "step_s": one.step_s,
                "total_s": one.total_s,
                "lacks": one.lacks,
            }
            for one in estimates
        ],
    }
