"""A FLUX.1 [dev] of the real size with random weights: what drawing and converting it takes.

    python benchmarks/full_size.py make FOLDER                   # 33.9 GB, nothing is fetched
    python benchmarks/full_size.py convert FOLDER                # to FOLDER/Q4_0.gguf, 6.8 GB
    python benchmarks/full_size.py draw FOLDER --dtype bfloat16  # other options go to flux1
    python benchmarks/full_size.py draw FOLDER/Q4_0.gguf --steps 3
    python benchmarks/full_size.py make FOLDER --scale tiny      # a megabyte

The pictures mean nothing; the bytes, the shapes and the arithmetic are the real ones. Peak memory
is the system's own count of a process of its own. How long reading the transformer's file once
takes is measured in the same run, before, from a file that was dropped from the disk's cache: no
step that streams the file can be faster. Remove the folder afterwards.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import Progress
from torch import Tensor, nn

from flux1.errors import Flux1Error
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig, ClipConfig, T5Config, TransformerConfig
from flux1.model.text import ClipText, T5Text
from flux1.model.transformer import Transformer
from flux1.variants import FLUX_DEV, TINY
from flux1.weights.files.disk import check_room
from flux1.weights.files.dtypes import DTYPES
from flux1.weights.files.safetensors import write_json
from flux1.weights.files.write import Pending, TensorFormat, write_safetensors
from flux1.weights.kinds.clip import transformers_clip_config
from flux1.weights.kinds.t5 import transformers_t5_config
from measure.machine import about
from measure.results import RESULTS, Label, Out, result_path, write_result

PROMPT = "a red fox on a blue background"
TRANSFORMER = "flux1-dev.safetensors"
BLOCK = 4_194_301  # random numbers that are drawn, prime: no row of a matrix repeats another
PIECE = 2**24  # bytes read at once
POLL = 0.1  # seconds


@dataclass(frozen=True)
class Scale:
    """Shapes of all parts."""

    transformer: TransformerConfig
    autoencoder: AutoencoderConfig
    clip: ClipConfig
    t5: T5Config


SCALES = {
    "full": Scale(FLUX_DEV.transformer, FLUX_DEV.autoencoder, ClipConfig(), T5Config()),
    "tiny": Scale(
        TransformerConfig(
            vec_in_dim=64, context_in_dim=64, hidden_size=64, num_heads=4, depth=1,
            depth_single_blocks=1, axes_dim=(4, 6, 6),
        ),
        TINY.autoencoder,
        ClipConfig(vocab_size=600, hidden_size=64, intermediate_size=64, num_layers=1, num_heads=1),
        T5Config(vocab_size=200, hidden_size=64, head_dim=16, intermediate_size=64, num_layers=1,
                 num_heads=4),
    ),
}  # fmt: skip


# What is written.


@dataclass(frozen=True)
class Part:
    """A network's file: its tensors' names and shapes, all in one dtype."""

    file: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtype: str
    config: Mapping[str, Any] | None = None  # config.json beside it

    @property
    def bytes(self) -> int:
        numbers = sum(math.prod(shape) for shape in self.shapes.values())
        return numbers * DTYPES[self.dtype].itemsize


def parts_of(folder: Path, scale: Scale) -> list[Part]:
    clip, t5 = folder / "text_encoder", folder / "text_encoder_2"
    return [
        Part(folder / TRANSFORMER, _shapes(Transformer, scale.transformer), "BF16"),
        Part(folder / "ae.safetensors", _shapes(Autoencoder, scale.autoencoder), "F32"),
        Part(
            clip / "model.safetensors",
            _shapes(ClipText, scale.clip),
            "BF16",
            transformers_clip_config(scale.clip),
        ),
        Part(
            t5 / "model.safetensors",
            {name.removeprefix("t5."): s for name, s in _shapes(T5Text, scale.t5).items()},
            "BF16",
            transformers_t5_config(scale.t5),
        ),
    ]


def _shapes(build: Callable[[Any], nn.Module], config: object) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        network = build(config)
    return {name: tuple(weight.shape) for name, weight in network.named_parameters()}


class Weights:
    """Tensors that let every input through, cut one after the other from a block of random numbers
    that begins anew when it ends."""

    def __init__(self, seed: int) -> None:
        self._block = torch.randn(BLOCK, generator=torch.Generator().manual_seed(seed))
        self._at = 0
        self._scaled = lru_cache(maxsize=8)(self._scale)

    def draw(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Variance 1 / inputs for matrices and kernels, small biases, norms near 1."""
        spread, centre = 0.1, 1.0
        if len(shape) > 1:
            spread, centre = math.prod(shape[1:]) ** -0.5, 0.0
        elif name.endswith("bias"):
            spread, centre = 0.02, 0.0
        source = self._scaled(spread, centre, dtype)
        tensor = torch.empty(math.prod(shape), dtype=dtype)
        filled = 0
        while filled < len(tensor):
            piece = source[self._at : self._at + len(tensor) - filled]
            tensor[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._at = (self._at + len(piece)) % BLOCK
        return tensor.reshape(shape)

    def _scale(self, spread: float, centre: float, dtype: torch.dtype) -> Tensor:
        return (self._block * spread + centre).to(dtype)


def write_part(part: Part, weights: Weights, advance: Callable[[int], None]) -> None:
    dtype = DTYPES[part.dtype]

    def made(name: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {name: weights.draw(name, shape, dtype)}

    pending = [
        Pending(
            {name: TensorFormat(part.dtype, shape, math.prod(shape) * dtype.itemsize)},
            partial(made, name, shape),
        )
        for name, shape in part.shapes.items()
    ]
    write_safetensors(part.file, pending, {"format": "pt"}, advance)
    if part.config is not None:
        write_json(part.file.parent / "config.json", part.config)


def write_clip_tokenizer(folder: Path, words: int) -> None:
    """Byte-level BPE without merges: letters, words that no text has, the two ends."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = [*letters, *(f"{letter}</w>" for letter in letters)]
    known += [f"<unused{i}>" for i in range(words - len(known) - 2)]
    known += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: i for i, word in enumerate(known)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    ends = dict.fromkeys(("eos_token", "pad_token", "unk_token"), known[-1])
    told = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": known[-2]}
    write_json(folder / "tokenizer_config.json", told | ends)


def write_t5_tokenizer(folder: Path, words: int) -> None:
    """A unigram model of letters, and words that no text has."""
    from transformers import T5Tokenizer

    letters = "▁" + "".join(map(chr, range(33, 127)))
    known = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0)]
    known += [(letter, -4.0) for letter in letters]
    known += [(f"<unused{i}>", -12.0) for i in range(words - len(known))]
    T5Tokenizer(vocab=known, extra_ids=0, model_max_length=512).save_pretrained(folder)


# What is measured.


@dataclass(frozen=True)
class Run:
    """A process that was measured: the most memory that it held, how much of that was its own (not
    a file's pages, which the system takes back when it needs them), what it read from the disk."""

    seconds: float
    peak_mib: int
    peak_own_mib: int
    read_bytes: int


def run(words: list[str]) -> tuple[Run, dict[str, Any]]:
    """Run `flux1` with these words; it must succeed, and print one JSON object, which is returned
    with what it took."""
    command = [sys.executable, "-m", "flux1", *words, "--json"]
    began = time.perf_counter()
    peak, own, read = 0, 0, 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        while not _ended(process):
            status = _table(Path(f"/proc/{process.pid}/status"))
            peak = max(peak, status.get("VmHWM", 0))
            own = max(own, status.get("RssAnon", 0))
            read = max(read, _table(Path(f"/proc/{process.pid}/io")).get("read_bytes", 0))
        seconds = time.perf_counter() - began
        out.seek(0), err.seek(0)
        if process.returncode:
            print(f"flux1 {' '.join(words)} ended with {process.returncode}:\n{err.read()}")
            raise typer.Exit(1)
        return Run(round(seconds, 2), peak // 1024, own // 1024, read), json.loads(out.read())


def _ended(process: subprocess.Popen) -> bool:
    """Whether it has ended, after waiting for that for a moment."""
    try:
        process.wait(POLL)
    except subprocess.TimeoutExpired:
        return False
    return True


def _table(file: Path) -> dict[str, int]:
    """`name: number` lines of a file under /proc; none if the process has just ended."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {
        words[0].rstrip(":"): int(words[1])
        for words in lines
        if words[1:2] and words[1].isdecimal()
    }


def forget(file: Path) -> None:
    """Drop a file from the disk's cache, where the system can be told to."""
    if hasattr(os, "posix_fadvise"):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_once(file: Path) -> float:
    """Seconds that reading a file takes, in order, from the disk; it is dropped again after."""
    forget(file)
    began = time.perf_counter()
    with file.open("rb", buffering=0) as stream:
        piece = bytearray(PIECE)
        while stream.readinto(piece):
            pass
    seconds = time.perf_counter() - began
    forget(file)
    return seconds


app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
MORE = {"allow_extra_args": True, "ignore_unknown_options": True}
Folder = Annotated[Path, typer.Argument(help="Where the model is, or will be.")]


@app.command()
def make(
    folder: Folder,
    scale: Annotated[str, typer.Option(help="full or tiny.")] = "full",
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 0,
) -> None:
    """Write transformer, autoencoder, both text encoders and tokenizers into FOLDER."""
    if scale not in SCALES:
        raise typer.BadParameter(f"{scale!r} is none of {', '.join(SCALES)}", param_hint="--scale")
    chosen = SCALES[scale]
    parts = parts_of(folder, chosen)
    total = sum(part.bytes for part in parts)
    print(f"{folder}: {total / 1e9:.3g} GB will be written")
    try:
        check_room(folder / TRANSFORMER, total)
        folder.mkdir(parents=True, exist_ok=True)
        weights = Weights(seed)
        with Progress(transient=True) as progress:
            task = progress.add_task("writing", total=total)
            for part in parts:
                write_part(part, weights, lambda size: progress.advance(task, size))
    except Flux1Error as failure:
        print(failure, file=sys.stderr)
        raise typer.Exit(2) from failure
    write_clip_tokenizer(folder / "tokenizer", chosen.clip.vocab_size)
    write_t5_tokenizer(folder / "tokenizer_2", chosen.t5.vocab_size)


@app.command(context_settings=MORE)
def draw(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="The folder, or a transformer's file in it.")],
    steps: Annotated[int, typer.Option(help="Two or more: the first is not timed.")] = 4,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT.")] = "256x256",
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Draw with `flux1 generate` and whatever options follow; write what it took to results/."""
    transformer = model / TRANSFORMER if model.is_dir() else model
    machine = about()
    once = read_once(transformer)
    with tempfile.TemporaryDirectory() as folder:
        picture = str(Path(folder) / "picture.png")
        words = ["generate", PROMPT, "--model", str(model), "--size", size, "--steps", str(steps)]
        took, told = run([*words, "--seed", "1", "-o", picture, *context.args])
    step = told["timings"]["step_s"]
    file_bytes = transformer.stat().st_size
    result = {
        "file": {"name": transformer.name, "bytes": file_bytes},
        "options": context.args,
        "size": size,
        "steps": steps,
        "seconds_per_step": step,
        "read_once_s": round(once, 3),
        "read_mb_per_s": round(file_bytes / 1e6 / once, 1),
        "step_over_reading_once": None if step is None else round(step / once, 3),
        "file_times_read": round(took.read_bytes / file_bytes, 2),
        "timings": told["timings"],
        **asdict(took),
    }
    print(json.dumps(result, indent=1))
    write_result(result_path("full-size-draw", label or transformer.stem, out), machine, result)


@app.command(context_settings=MORE)
def convert(
    context: typer.Context,
    folder: Folder,
    to: Annotated[str, typer.Option(help="The layout: gguf, bfl, ...")] = "gguf",
    dtype: Annotated[str, typer.Option(help="The number format: q4_0, fp8, ...")] = "q4_0",
    place: Annotated[
        Path | None, typer.Option(help="What to write.", show_default="FOLDER/Q4_0.gguf")
    ] = None,
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Convert the transformer with `flux1 convert`; write what it took to results/."""
    suffix = ".gguf" if to == "gguf" else ".safetensors"
    target = place or folder / f"{dtype.upper()}{suffix}"
    machine, source = about(), folder / TRANSFORMER
    forget(source)
    words = ["convert", str(source), str(target), "--to", to, "--dtype", dtype, "--overwrite"]
    took, told = run([*words, *context.args])
    result = {
        "file": {"name": source.name, "bytes": source.stat().st_size},
        "written": {"name": target.name, "bytes": told["bytes"], "tensors": told["tensors"]},
        "options": context.args,
        "mb_per_s": round(source.stat().st_size / 1e6 / took.seconds, 1),
        **asdict(took),
    }
    print(json.dumps(result, indent=1))
    write_result(result_path("full-size-convert", label or dtype, out), machine, result)


if __name__ == "__main__":
    app()
