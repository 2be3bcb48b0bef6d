"""`flux1 train`: weights from nothing by a recipe, or a model taught pictures of one's own."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flux1.cli.options import Device
from flux1.errors import DataError, DependencyError
from flux1.variants import DEFAULT

RECIPE = "recipe"


class _ShortForm(TyperGroup):
    """`flux1 train flux-mini` is `flux1 train recipe flux-mini`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_help = args[:1] in (["--help"], ["-h"])
        if not asks_help and args[:1] not in [[name] for name in self.commands]:
            args = [RECIPE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_ShortForm, help="Train: a LoRA of your own pictures, or a whole recipe.")


@app.command(RECIPE)
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
    try:
        from flux1.training.mini.make import make
        from flux1.training.mini.recipes import read_recipe, recipe_names
    except ModuleNotFoundError as missing:
        raise DependencyError("training", missing.name, "train") from missing
    if list_recipes or recipe is None:
        for name in recipe_names():
            typer.echo(name)
        return
    from flux1.cli.console import say, stderr
    from flux1.pipeline.load import choose_device
    from flux1.settings import Settings, read

    chosen = read_recipe(recipe)
    place = choose_device(device or read(Settings).device)
    finished = make(chosen, out or Path("runs") / chosen.name, stderr(), place)
    say(f'done: flux1 generate "a red fox" --model {finished}')


@app.command("lora")
def lora(
    data: Annotated[
        Path,
        typer.Option(
            "-d",
            "--data",
            help="Folder of pictures, with .txt captions or a metadata.jsonl; or a "
            "Hugging Face data set.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option("-m", "--model", help="Model name, or a folder or file of weights.")
    ] = DEFAULT.id,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of the run.", show_default="runs/DATA"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Train all weights instead; writes a model's folder.")
    ] = False,
    rank: Annotated[int | None, typer.Option(help="Rank of the LoRA.", show_default="16")] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Its strength is alpha / rank.", show_default="the rank"),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="What it changes: attention, blocks or all.", show_default="blocks"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps; more may be asked for later.", show_default="1000")
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate.", show_default="1e-4 at FLUX.1's width, --full 1e-5"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Pictures a step.", show_default="4096 image tokens, at most 8"),
    ] = None,
    resolution: Annotated[
        list[int] | None,
        typer.Option(
            help="Side of a square of the wanted area. May be given again.",
            show_default="the model's",
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="What a guidance-distilled model is told.", show_default="1"),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="For pictures that have none.", show_default=False)
    ] = None,
    caption_column: Annotated[
        str, typer.Option(help="Name of the captions in metadata.jsonl and data sets.")
    ] = "text",
    caption_dropout: Annotated[
        float | None, typer.Option(help="Share of captions left empty.", show_default="0.05")
    ] = None,
    validation_prompt: Annotated[
        list[str] | None,
        typer.Option(help="A picture to draw along the way. May be given again."),
    ] = None,
    validate_every: Annotated[int, typer.Option(help="Steps between them.", min=1)] = 250,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 100,
    log_every: Annotated[int, typer.Option(help="Steps between rows of the log.", min=1)] = 10,
    logger: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard or wandb, beside log.jsonl. May be given again."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of latents and text features.", show_default="OUT/cache"),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Of the LoRA's file: diffusers, comfyui, kohya.",
            show_default="diffusers",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32 or bfloat16.", show_default="bfloat16 on CUDA, else float32"),
    ] = None,
    checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing",
            help="Compute each block again for the gradient: less memory.",
        ),
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Frozen weights: plain, packed (as the file has them), mapped (left there).",
            show_default="plain",
        ),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(help="Frozen weights in eight bits: int8, int8_dynamic, fp8."),
    ] = None,
    ema: Annotated[
        float | None, typer.Option(help="Decay of the averaged weights.", show_default="0.99")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Steps until the full rate.", show_default="20")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(show_default="0.01")] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="adamw, or adamw8bit: its moments in a quarter of the memory.",
            show_default="adamw",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(show_default="0")] = None,
    device: Device = None,
) -> None:
    """Teach MODEL the pictures in DATA; OUT/lora.safetensors draws with `--lora`.

    Interrupt it at will: the same command goes on where it was. Started by `torchrun`, several
    processes share the work and the weights.
    """
    from flux1.cli.console import say, stderr
    from flux1.pipeline.load import choose_device, choose_dtype
    from flux1.settings import Settings, read
    from flux1.training.distributed import joined
    from flux1.training.finetune.run import Finetune
    from flux1.training.finetune.settings import Pictures, RunOptions, choose_settings
    from flux1.weights.sources import locate

    place = choose_device(device or read(Settings).device)
    source = locate(model, read(Settings).models)
    folder = out or Path("runs") / (data.resolve().name or "lora")
    if full and layout is not None:
        raise DataError(f"format: {layout!r} has no effect with --full, which writes a model")
    options = RunOptions(
        tuple(validation_prompt or ()), validate_every, checkpoint_every, log_every,
        tuple(logger or ()), checkpointing, layout or "diffusers",
    )  # fmt: skip
    with joined(place) as (world, own):
        settings = choose_settings(
            source.variant, choose_dtype(precision or "auto", own), world.size,
            method="full" if full else "lora", steps=steps, batch_size=batch_size,
            learning_rate=lr, resolutions=tuple(resolution) if resolution else None,
            guidance=guidance, rank=rank, alpha=alpha, layers=layers,
            caption_dropout=caption_dropout, ema_decay=ema, warmup_steps=warmup,
            weight_decay=weight_decay, seed=seed, keep=keep, quantize=quantize,
            optimizer=optimizer,
        )  # fmt: skip
        run = Finetune(
            source, Pictures(data, caption, caption_column), settings, options, folder,
            cache or folder / "cache", stderr(), own, world,
        )  # fmt: skip
        made = run.run(_StopAsked())
    if made is not None and world.first:
        use = f"--model {made}" if full else f"--model {model} --lora {made}"
        say(f"done: flux1 generate PROMPT {use}")


class _StopAsked:
    """Whether Ctrl-C (or SIGTERM) came since this was first asked, after the first step. The one
    signal lets a step be finished and kept; one more, or one before that, ends the process."""

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
