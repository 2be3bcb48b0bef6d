"""`flux1 train`: weights from nothing by a recipe, or a model taught pictures of one's own."""

import signal
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flux1.cli.console import say, stderr
from flux1.cli.fields import given, options_of, with_options
from flux1.cli.once import Once
from flux1.cli.options import Device
from flux1.errors import DependencyError, RequestError
from flux1.training.finetune.settings import FinetuneSettings, Pictures, RunOptions
from flux1.variants import DEFAULT

RECIPE = "recipe"
# What is a LoRA's, or that of the frozen weights beside it.
OF_LORAS = ("rank", "alpha", "layers", "only", "keep", "quantize", "layout", "save_dtype")


class _ShortForm(TyperGroup):
    """`flux1 train flux-mini` is `flux1 train recipe flux-mini`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_help = args[:1] in (["--help"], ["-h"])
        if not asks_help and args[:1] not in [[name] for name in self.commands]:
            args = [RECIPE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShortForm, help="Train: a LoRA of your own pictures, all weights, or a whole recipe."
)


@app.command(RECIPE, cls=Once)
def recipe(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name, or a .toml file of your own.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of the run.", show_default="runs/RECIPE"),
    ] = None,
    device: Device = None,
    list_recipes: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
) -> None:
    """Run RECIPE: fetch the data, train, and write a folder that `flux1 generate -m` draws with.

    Interrupt it at will: the same command goes on from the last checkpoint.
    """
    from flux1.training.mini.recipes import read_recipe, recipe_names

    if list_recipes or recipe is None:
        for name in recipe_names():
            typer.echo(name)
        return
    from flux1.pipeline.load import choose_device
    from flux1.settings import Settings, read
    from flux1.training.mini.make import make

    chosen = read_recipe(recipe)
    if find_spec("resvg_py") is None:  # draws the scenes: said before anything is fetched
        raise DependencyError("training a recipe", "resvg_py", "train")
    place = choose_device(device or read(Settings).device)
    finished = make(chosen, out or Path("runs") / chosen.name, stderr(), place)
    say(f'done: flux1 generate "a red fox" --model {finished}')


Data = Annotated[
    list[Path],
    typer.Option(
        "-d",
        "--data",
        help="Folder of pictures, with captions beside them or a metadata.jsonl; or a "
        "Hugging Face data set. May be given again.",
        show_default=False,
    ),
]
Model = Annotated[
    str, typer.Option("-m", "--model", help="Model name, or a folder or file of weights.")
]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Folder of the run.", show_default="runs/DATA")
]
Caption = Annotated[
    str | None, typer.Option(help="For pictures that have none.", show_default=False)
]
CaptionColumn = Annotated[
    str, typer.Option(help="Name of the captions in metadata.jsonl and data sets.")
]
Trigger = Annotated[
    str | None,
    typer.Option(
        help="A word for every caption: at [trigger], else before it.", show_default=False
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder of latents and text features.", show_default="OUT/cache"),
]


@app.command("lora", cls=Once)
@with_options(options_of(FinetuneSettings) | options_of(RunOptions), after="out")
def lora(
    data: Data,
    model: Model = DEFAULT.id,
    out: Out = None,
    caption: Caption = None,
    caption_column: CaptionColumn = "text",
    trigger: Trigger = None,
    cache: Cache = None,
    device: Device = None,
    full: Annotated[bool, typer.Option("--full", hidden=True)] = False,
    **options: Any,
) -> None:
    """Teach a LoRA of MODEL the pictures in DATA; OUT/lora.safetensors draws with `--lora`.

    Interrupt it at will: the same command goes on where it was. Started by `torchrun`, several
    processes share the work and the weights.
    """
    if full:
        raise RequestError("full", "all weights are trained by `flux1 train full`")
    pictures = Pictures(tuple(data), caption, caption_column, trigger)
    made = _finetune("lora", pictures, model, out, cache, device, options)
    if made is not None:
        say(f"done: flux1 generate PROMPT --model {model} --lora {made}")


@app.command("full", cls=Once)
@with_options(
    options_of(FinetuneSettings, without=OF_LORAS) | options_of(RunOptions, without=OF_LORAS),
    after="out",
)
def full(
    data: Data,
    model: Model = DEFAULT.id,
    out: Out = None,
    caption: Caption = None,
    caption_column: CaptionColumn = "text",
    trigger: Trigger = None,
    cache: Cache = None,
    device: Device = None,
    **options: Any,
) -> None:
    """Teach all weights of MODEL the pictures in DATA; writes a model's folder, OUT/model.

    Interrupt it at will: the same command goes on where it was. Started by `torchrun`, several
    processes share the work and the weights.
    """
    pictures = Pictures(tuple(data), caption, caption_column, trigger)
    made = _finetune("full", pictures, model, out, cache, device, options)
    if made is not None:
        say(f"done: flux1 generate PROMPT --model {made}")


def _finetune(
    method: str,
    pictures: Pictures,
    model: str,
    out: Path | None,
    cache: Path | None,
    device: str | None,
    options: Mapping[str, Any],
) -> Path | None:
    """Return what the run made; None if it was stopped before, or another process tells."""
    from flux1.pipeline.load import choose_device, choose_dtype
    from flux1.settings import Settings, read
    from flux1.training.distributed import joined
    from flux1.training.finetune.choose import choose_settings
    from flux1.training.finetune.run import Finetune
    from flux1.weights.sources import locate

    place = choose_device(device or read(Settings).device)
    source = locate(model, read(Settings).models)
    folder = out or Path("runs") / (pictures.folders[0].resolve().name or "lora")
    asked = given(options, FinetuneSettings) | {"method": method}
    with joined(place) as (world, own):
        dtype = choose_dtype(asked.get("precision", "auto"), own)
        settings = choose_settings(source.variant, dtype, world.size, **asked)
        run = Finetune(
            source,
            pictures,
            settings,
            RunOptions(**given(options, RunOptions)),
            folder,
            cache or folder / "cache",
            stderr(),
            own,
            world,
        )
        made = run.run(_StopAsked())
    return made if world.first else None


class _StopAsked:
    """Tells a training loop whether Ctrl-C (or SIGTERM) came since this was first asked, after
    the first step. The one signal lets a step be finished and kept; one more, or one before
    that, ends the process."""

    def __init__(self) -> None:
        self._signals: threading.Event | None = None

    def __call__(self) -> bool:
        if self._signals is None:
            self._signals = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._stop)
        return self._signals.is_set()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        assert self._signals is not None
        self._signals.set()
        signal.signal(number, signal.default_int_handler)
