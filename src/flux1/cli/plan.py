"""`flux1 plan`: how a model can be drawn with in given memory."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flux1.cli.options import parse_size
from flux1.cli.plan_training import plan_training
from flux1.errors import Flux1Error, MissingWeightsError, RequestError
from flux1.variants import DEFAULT, VARIANTS, Variant

if TYPE_CHECKING:
    import torch

    from flux1.pipeline.plan import Device, Estimate, Work
    from flux1.pipeline.rates import Rates
    from flux1.pipeline.room import Room
    from flux1.weights.numbers.quantize import Quantization
    from flux1.weights.sources import Source

    Measured = dict[tuple[Device, Quantization | None], Rates]

QUANTIZATIONS: "tuple[Quantization | None, ...]" = (None, "int8_dynamic")
WIDTH = 100  # of the table; where the terminal has less, its lines wrap


def plan(
    model: Annotated[
        str,
        typer.Option("-m", "--model", help="Model name, or a folder or file of weights."),
    ] = DEFAULT.id,
    vram: Annotated[
        str | None,
        typer.Option(
            help="Graphics memory, for example 12GB; none for no card.",
            show_default="what is free here",
        ),
    ] = None,
    ram: Annotated[
        str | None,
        typer.Option(
            help="Memory that the process may take, for example 32GB.",
            show_default="what is free here",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="WIDTHxHEIGHT in pixels.", metavar="WxH", show_default="the model's"),
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option(
            help="What the card reaches in bfloat16, in 10^12 operations a second.",
            show_default="measured, if it is here",
        ),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Plan `flux1 train lora` instead.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="With --train: all weights, and no LoRA.")
    ] = False,
    rank: Annotated[
        int | None, typer.Option(help="With --train: of the LoRA.", show_default="16")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="With --train: attention, blocks or all.", show_default="blocks"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="With --train: pictures a step.", show_default="4096 image tokens, at most 8"
        ),
    ] = None,
    resolution: Annotated[
        list[int] | None,
        typer.Option(
            help="With --train: side of a square. May be given again.", show_default="the model's"
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(help="With --train: that share the work.", show_default="1", min=1),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="With --train: adamw or adamw8bit.", show_default="adamw"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the ways to draw with a model in given memory: their peaks and times, fastest first.

    With --train, the ways to teach it pictures.
    """
    found = _found(model)
    variant = found if isinstance(found, Variant) else found.variant
    if tflops is not None and not (math.isfinite(tflops) and tflops > 0):
        raise Flux1Error(f"tflops: {tflops:g} is not above 0; for example 80")
    if not train:
        training = {
            "full": full, "rank": rank, "layers": layers, "batch-size": batch_size,
            "resolution": resolution, "processes": processes, "optimizer": optimizer,
        }  # fmt: skip
        for option, value in training.items():
            if value is not None and value is not False and value != []:
                raise RequestError(option, "has no effect without --train")
        _plan_drawing(found, variant, parse_size(size), vram, ram, tflops, as_json)
        return
    if size is not None:
        raise RequestError("size", f"{size} has no effect with --train; say --resolution")
    room = _room(variant, vram, ram)
    rates = _measured(found, _dtypes(room), tflops, (None,))
    by_device = {device: rate for (device, _), rate in rates.items()}
    plan_training(
        found, room, by_device, processes or 1, as_json,
        method="full" if full else None, rank=rank, layers=layers, batch_size=batch_size,
        resolutions=tuple(resolution) if resolution else None, optimizer=optimizer,
    )  # fmt: skip


def _plan_drawing(
    found: "Variant | Source",
    variant: Variant,
    size: tuple[int | None, int | None],
    vram: str | None,
    ram: str | None,
    tflops: float | None,
    as_json: bool,
) -> None:
    from flux1.pipeline.ledger import ledger_of
    from flux1.pipeline.plan import Work, too_little
    from flux1.pipeline.plan import plan as ways_in
    from flux1.request import make_request

    request = make_request(variant, "any", width=size[0], height=size[1], seed=0)
    ledger = ledger_of(found)
    room = _room(variant, vram, ram)
    dtypes = _dtypes(room)
    rates = _measured(found, dtypes, tflops, QUANTIZATIONS)
    work = Work.of(variant, [request])
    estimates = ways_in(ledger, work, room, dtypes, rates, QUANTIZATIONS)
    if all(one.lacks for one in estimates):
        raise too_little(variant, work, room, estimates)
    if as_json:
        typer.echo(json.dumps(_report(variant, found, work, room, rates, estimates)))
        return
    _show(variant, found, room, rates, estimates, f"{work.width}x{work.height}")


def _found(model: str) -> "Variant | Source":
    """The model's files, or what is known of it where they are not here."""
    from flux1.settings import Settings, read
    from flux1.weights.sources import locate

    try:
        return locate(model, read(Settings).models)
    except MissingWeightsError:
        variant = next((v for v in VARIANTS if model.lower() in (v.id, *v.aliases)), None)
        if variant is None:
            raise
        return variant


def _room(variant: Variant, vram: str | None, ram: str | None) -> "Room":
    """What is given; for what is not, what is free here."""
    import torch

    from flux1.pipeline.memory import parse_bytes
    from flux1.pipeline.room import free_room

    room = free_room(torch.device("cuda" if torch.cuda.is_available() else "cpu"), variant)
    if ram is not None:
        room = replace(room, ram=parse_bytes("ram", ram))
    if vram is not None:
        room = replace(room, vram=None if vram == "none" else parse_bytes("vram", vram))
    if sys.maxsize in (room.ram, room.vram):
        raise Flux1Error("ram: what is free here is not known; give it, for example 16GB")
    return room


def _dtypes(room: "Room") -> "dict[Device, torch.dtype]":
    """The devices that there are, and what each computes in by default."""
    import torch

    cpu: dict[Device, torch.dtype] = {"cpu": torch.float32}
    return cpu if room.vram is None else {"cuda": torch.bfloat16, **cpu}


def _measured(
    found: "Variant | Source",
    dtypes: "dict[Device, torch.dtype]",
    tflops: float | None,
    quantizations: "tuple[Quantization | None, ...]",
) -> "Measured":
    """What the devices that are here reach; of a card that is not, what was told."""
    import torch

    from flux1.pipeline.rates import Rates, measure

    source = None if isinstance(found, Variant) else found
    rates: Measured = {}
    for device, dtype in dtypes.items():
        if device == "cpu" or torch.cuda.is_available():
            for quantize in quantizations:
                rates[device, quantize] = measure(source, torch.device(device), dtype, quantize)
    if tflops is not None:
        rates["cuda", None] = replace(rates.get(("cuda", None), Rates()), flops=tflops * 1e12)
    return rates


def _show(
    variant: Variant,
    found: "Variant | Source",
    room: "Room",
    rates: "Measured",
    estimates: "Sequence[Estimate]",
    size: str,
) -> None:
    from rich.console import Console
    from rich.table import Table

    from flux1.pipeline.memory import bytes_text

    card = "" if room.vram is None else f" and {bytes_text(room.vram)} of graphics memory"
    here = "" if not isinstance(found, Variant) else ", sizes as published: its files are not here"
    typer.echo(f"{variant.id} at {size} in {bytes_text(room.ram)}{card}{here}\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("", "on", "transformer", "text", "at once", "decode"):
        table.add_column(heading)
    for heading in (*(["card"] if card else []), "memory", "a step", "a picture"):
        table.add_column(heading, justify="right")
    for one in estimates:
        way = one.way
        kept = way.quantize or way.keep
        vram = [] if not card else ["" if one.vram is None else bytes_text(one.vram)]
        table.add_row(
            one.lacks or "fits", way.device, kept, way.keep_text, way.stages,
            "strips" if way.in_strips else "whole", *vram, bytes_text(one.ram),
            _seconds(one.step_s), _seconds(one.total_s),
            style="dim" if one.lacks else "",
        )  # fmt: skip
    Console(width=max(WIDTH, Console().width)).print(table)
    typer.echo(
        f"\ntimes are the work, counted, over what this machine just reached: {_rates_text(rates)}"
    )


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


def _rates_text(rates: "Measured") -> str:
    """What was measured, in words."""
    told = [
        f"{device} {quantize or ''}".rstrip() + f" {rate.flops / 1e9:,.0f} GFLOP/s"
        for (device, quantize), rate in rates.items()
        if rate.flops is not None
    ]
    disks = [rate.disk for rate in rates.values() if rate.disk is not None]
    told.append(f"disk {max(disks) / 1e9:.2g} GB/s" if disks else "disk not known")
    return ", ".join(told)


def _report(
    variant: Variant,
    found: "Variant | Source",
    work: "Work",
    room: "Room",
    rates: "Measured",
    estimates: "Sequence[Estimate]",
) -> dict[str, Any]:
    """The `--json` object: bytes and seconds."""
    return {
        "model": variant.id,
        "files": not isinstance(found, Variant),
        "width": work.width,
        "height": work.height,
        "ram": room.ram,
        "vram": room.vram,
        "rates": [
            {"device": device, "quantize": quantize, **asdict(rate)}
            for (device, quantize), rate in rates.items()
        ],
        "ways": [
            {
                **{k: v for k, v in asdict(one.way).items() if k != "dtype"},
                "dtype": str(one.way.dtype).removeprefix("torch."),
                "ram": one.ram, "vram": one.vram, "step_s": one.step_s, "total_s": one.total_s,
                "lacks": one.lacks,
            }
            for one in estimates
        ],
    }  # fmt: skip
