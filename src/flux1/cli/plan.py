"""`flux1 plan draw` and `flux1 plan train`: what given memory allows."""

import math
import shlex
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from flux1.cli.fields import given, options_of, with_options
from flux1.cli.options import parse_size
from flux1.cli.runtimes import named_row
from flux1.errors import Flux1Error, MissingWeightsError, RequestError
from flux1.request import make_request
from flux1.training.finetune.settings import FinetuneSettings
from flux1.variants import DEFAULT, VARIANTS, Variant

if TYPE_CHECKING:
    import torch

    from flux1.pipeline.device_speed import DeviceSpeed
    from flux1.pipeline.memory_limit import MemoryLimit
    from flux1.pipeline.plan import Device
    from flux1.weights.numbers.quantize import Quantization
    from flux1.weights.sources import Source

    Measured = dict[tuple[Device, Quantization | None], DeviceSpeed]

PLANNED = ("rank", "layers", "batch_size", "resolutions", "optimizer")  # what memory depends on


Model = Annotated[
    str, typer.Option("-m", "--model", help="Model name, or a folder or file of weights.")
]
Vram = Annotated[
    str | None,
    typer.Option(
        help="Graphics memory, for example 12GB; none for no card.",
        show_default="what is free here",
    ),
]
Ram = Annotated[
    str | None,
    typer.Option(
        help="Memory that the process may take, for example 32GB.",
        show_default="what is free here",
    ),
]
Tflops = Annotated[
    float | None,
    typer.Option(
        help="What the card reaches in bfloat16, in 10^12 operations a second.",
        show_default="measured, if it is here",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class _OldForm(TyperGroup):
    """Says in one line what `flux1 plan OPTIONS` and `flux1 plan --train` are called now."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "-h"):
            new = "train" if "--train" in args else "draw"
            rest = [word for word in args if word != "--train"]
            raise RequestError("plan", f"this is now: {shlex.join(['flux1', 'plan', new, *rest])}")
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_OldForm, no_args_is_help=True, help="Plan: the ways to draw or to train in given memory."
)


@app.command("draw")
def draw(
    model: Model = DEFAULT.id,
    vram: Vram = None,
    ram: Ram = None,
    size: Annotated[
        str | None,
        typer.Option(help="WIDTHxHEIGHT in pixels.", metavar="WxH", show_default="the model's"),
    ] = None,
    tflops: Tflops = None,
    as_json: Json = False,
) -> None:
    """List the ways to draw with a model in given memory: their peaks and times, fastest first."""
    from flux1.cli.plan_drawing import QUANTIZATIONS, plan_drawing

    width, height = parse_size(size)
    _check_tflops(tflops)
    row = named_row(model)
    if row is not None:  # said before a library of networks is imported
        make_request(row, "any", width=width, height=height, seed=0)
    found = _found(model)
    variant = found if isinstance(found, Variant) else found.variant
    request = make_request(variant, "any", width=width, height=height, seed=0)
    limit = _limit(variant, vram, ram)
    dtypes = _dtypes(limit)
    speeds = _measured(found, dtypes, tflops, QUANTIZATIONS)
    plan_drawing(found, request, limit, dtypes, speeds, as_json)


@app.command("train")
@with_options(options_of(FinetuneSettings, only=PLANNED), after="tflops")
def train(
    model: Model = DEFAULT.id,
    vram: Vram = None,
    ram: Ram = None,
    full: Annotated[bool, typer.Option("--full", help="All weights, and no LoRA.")] = False,
    processes: Annotated[int, typer.Option(help="That share the work.", min=1)] = 1,
    tflops: Tflops = None,
    as_json: Json = False,
    **settings: Any,
) -> None:
    """List the ways to run `flux1 train lora` in given memory, or with --full `flux1 train full`.

    Their peaks and times, fastest first.
    """
    from flux1.cli.plan_training import plan_training

    _check_tflops(tflops)
    found = _found(model)
    limit = _limit(found if isinstance(found, Variant) else found.variant, vram, ram)
    speeds = _measured(found, _dtypes(limit), tflops, (None,))
    by_device = {device: speed for (device, _), speed in speeds.items()}
    asked = given(settings, FinetuneSettings) | {"method": "full" if full else "lora"}
    plan_training(found, limit, by_device, processes, as_json, **asked)


def _check_tflops(tflops: float | None) -> None:
    if tflops is not None and not (math.isfinite(tflops) and tflops > 0):
        raise Flux1Error(f"tflops: {tflops:g} is not above 0; for example 80")


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


def _limit(variant: Variant, vram: str | None, ram: str | None) -> "MemoryLimit":
    """Return the memory that is given; where none is, what is free here."""
    import torch

    from flux1.pipeline.memory import parse_bytes
    from flux1.pipeline.memory_limit import free_memory

    limit = free_memory(torch.device("cuda" if torch.cuda.is_available() else "cpu"), variant)
    if ram is not None:
        limit = replace(limit, ram=parse_bytes("ram", ram))
    if vram is not None:
        limit = replace(limit, vram=None if vram == "none" else parse_bytes("vram", vram))
    if sys.maxsize in (limit.ram, limit.vram):
        raise Flux1Error("ram: what is free here is not known; give it, for example 16GB")
    return limit


def _dtypes(limit: "MemoryLimit") -> "dict[Device, torch.dtype]":
    """The devices that there are, and what each computes in by default."""
    import torch

    cpu: dict[Device, torch.dtype] = {"cpu": torch.float32}
    return cpu if limit.vram is None else {"cuda": torch.bfloat16, **cpu}


def _measured(
    found: "Variant | Source",
    dtypes: "dict[Device, torch.dtype]",
    tflops: float | None,
    quantizations: "tuple[Quantization | None, ...]",
) -> "Measured":
    """Return the speeds of the devices that are here; of a card that is not, the given ones."""
    import torch

    from flux1.pipeline.device_speed import DeviceSpeed, measure

    source = None if isinstance(found, Variant) else found
    speeds: Measured = {}
    for device, dtype in dtypes.items():
        if device == "cpu" or torch.cuda.is_available():
            for quantize in quantizations:
                speeds[device, quantize] = measure(source, torch.device(device), dtype, quantize)
    if tflops is not None:
        speeds["cuda", None] = replace(
            speeds.get(("cuda", None), DeviceSpeed()), flops=tflops * 1e12
        )
    return speeds
