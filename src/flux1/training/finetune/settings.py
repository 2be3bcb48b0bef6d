"""The settings of a finetuning run: one field a setting, with its range and what a person is
told of it. Imports no torch: the command line's options are made of these fields."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from flux1.weights.numbers.choices import Keep, Quantization

SAVE_EVERY = {"lora": 250, "full": 0}  # steps between checkpoints that are kept, if none are named


@dataclass(frozen=True)
class About:
    """The help for a field: a sentence, what holds if it is left out (where that is not the
    field's default), its option's name where that is not the field's, and its least value where
    that is not checked with the rest."""

    text: str
    usual: str | None = None
    option: str | None = None
    least: int | None = None


@dataclass(frozen=True)
class FinetuneSettings:
    """All that decides what is learnt. `choose.choose_settings` completes and checks it.

    `resolutions` are the sides of squares that have the wanted areas; `alpha` / `rank` is a LoRA's
    strength, `only` are patterns of layers' names. `keep` and `quantize` say how the frozen weights
    beside it are held.
    """

    method: Literal["lora", "full"]
    steps: Annotated[int, Gt(0), About("Steps; more may be asked for later.", "1000")]
    batch_size: Annotated[
        int, Gt(0), About("Pictures a step.", "4096 image tokens' worth, at most 8")
    ]
    learning_rate: Annotated[
        float,
        Gt(0),
        About("Learning rate.", "1e-4 at FLUX.1's width, 1e-5 for all weights", "--lr"),
    ]
    resolutions: Annotated[
        tuple[Annotated[int, Gt(0)], ...],
        MinLen(1),
        About("Side of a square of the wanted area.", "the model's", "--resolution"),
    ]
    guidance: Annotated[
        Annotated[float, Ge(0)] | None, About("What a guidance-distilled model is told.", "1")
    ]
    precision: Annotated[
        Literal["float32", "bfloat16"],
        About("float32 or bfloat16.", "bfloat16 on CUDA, else float32"),
    ]
    rank: Annotated[Annotated[int, Gt(0)] | None, About("Rank of the LoRA.", "16")]
    alpha: Annotated[
        Annotated[float, Gt(0)] | None, About("The LoRA's strength is alpha / rank.", "the rank")
    ]
    layers: Annotated[
        Literal["attention", "blocks", "all"] | None,
        About("What a LoRA changes: attention, blocks or all.", "blocks"),
    ]
    only: Annotated[
        tuple[str, ...],
        About("Of those, only layers with such a name: 'single_blocks.*.linear2'.", "all of them"),
    ] = ()
    caption_dropout: Annotated[float, Ge(0), Le(1), About("Share of captions left empty.")] = 0.05
    held_out: Annotated[
        float, Ge(0), Lt(1), About("Share of pictures not learnt, for a validation loss.")
    ] = 0.0
    ema_decay: Annotated[
        float, Ge(0), Lt(1), About("Decay of the averaged weights.", option="--ema")
    ] = 0.99
    warmup_steps: Annotated[int, Ge(0), About("Steps until the full rate.", option="--warmup")] = 20
    weight_decay: Annotated[float, Ge(0), About("Weight decay.")] = 0.01
    seed: Annotated[int, Ge(0), About("Seed of noise, times and the order of pictures.")] = 0
    keep: Annotated[
        Keep,
        About("Frozen weights: plain, packed (as the file has them), mapped (left there)."),
    ] = "plain"
    quantize: Annotated[
        Quantization | None,
        About("Frozen weights in eight bits: int8, int8_dynamic, fp8.", "not quantised"),
    ] = None
    optimizer: Annotated[
        Literal["adamw", "adamw8bit"],
        About("adamw, or adamw8bit: its moments in a quarter of the memory."),
    ] = "adamw"


@dataclass(frozen=True)
class Pictures:
    """The sources of a run's pictures: the folders, words for those that have none, the name
    under which metadata and data sets keep theirs, and a word that every caption shall have."""

    folders: tuple[Path, ...]
    caption: str | None = None
    column: str = "text"
    trigger: str | None = None


@dataclass(frozen=True)
class RunOptions:
    """Options of a run beside learning; nothing of it changes what is learnt. `recompute`: of
    each block, for the gradient, what could be kept instead. `layout` and `save_dtype` are the
    LoRA file's. `from_step` names a checkpoint that was kept, by which an earlier course is
    left."""

    prompts: Annotated[
        tuple[str, ...],
        About("A picture to draw along the way.", "none", "--validation-prompt"),
    ] = ()
    preview_every: Annotated[
        int, About("Steps between those pictures.", option="--validate-every", least=1)
    ] = 250
    checkpoint_every: Annotated[int, About("Steps between checkpoints.", least=1)] = 100
    save_every: Annotated[
        int | None,
        About(
            "Steps between checkpoints and LoRA files that are kept under their step's number.",
            "250 for a LoRA, none for all weights",
            least=1,
        ),
    ] = None
    from_step: Annotated[
        int | None,
        About("Go back to a checkpoint that was kept (0: begin again).", "the last", least=0),
    ] = None
    log_every: Annotated[int, About("Steps between rows of the log.", least=1)] = 10
    loggers: Annotated[
        tuple[str, ...],
        About("tensorboard or wandb, beside log.jsonl.", "log.jsonl alone", "--logger"),
    ] = ()
    recompute: Annotated[
        bool,
        About(
            "Compute each block again for the gradient: less memory.",
            option="--gradient-checkpointing",
        ),
    ] = False
    layout: Annotated[
        str, About("Of the LoRA's file: diffusers, comfyui, kohya.", option="--format")
    ] = "diffusers"
    save_dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        About("Numbers in the LoRA's file: float32, bfloat16 or float16.", "the precision"),
    ] = None
