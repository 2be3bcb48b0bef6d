"""How fast, beside diffusers, on the same weights, in the same run.

    python benchmarks/speed.py                          # all three parts
    python benchmarks/speed.py --parts blocks --threads 1

The two sides take turns (A B A B), so that a busy machine slows both; a matrix product of known
cost, timed before and after, says how busy it was. A ratio below 1 means that flux1 is faster.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated

import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

import machine
from flux1.flow.guidance import classifier_free
from flux1.flow.noise import initial_noise
from flux1.flow.schedule import sampling_times, shift_mu
from flux1.flow.solvers import euler
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig, TransformerConfig
from flux1.model.patches import image_ids, pack, text_ids, unpack
from flux1.model.rope import rope_table
from flux1.model.transformer import Transformer
from flux1.pipeline.advance import advance
from flux1.pipeline.decode import decode
from flux1.pipeline.encode import Conditioning
from flux1.pipeline.job import Job
from flux1.variants import FLUX_MINI_TEACHER
from flux1.weights.recognise.names import autoencoder_to_diffusers, transformer_to_diffusers

SEED = 31_337
PROMPT = "a red fox on a blue background"


@dataclass(frozen=True)
class Duel:
    """What both sides needed in each round; `difference`: between their outputs, where compared.

    The difference is the largest absolute one, as a share of the largest absolute value.
    """

    name: str
    unit: str
    ours: list[float]
    theirs: list[float]
    difference: float | None = None

    @property
    def ratio_of_minima(self) -> float:
        return min(self.ours) / min(self.theirs)

    @property
    def ratio_of_medians(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.theirs)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def duel(name: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor], rounds: int) -> Duel:
    """Compare the outputs once (which also warms both up), then time them in turn."""
    a, b = ours(), theirs()
    difference = ((a - b).abs().max() / b.abs().max()).item()
    times = [(_seconds(ours), _seconds(theirs)) for _ in range(rounds)]
    return Duel(name, "s", [t for t, _ in times], [t for _, t in times], difference)


def calibration(side: int = 2048, rounds: int = 5) -> float:
    """GFLOP/s of a side^3 fp32 matrix product, the best of a few."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    best = min(_seconds(lambda: a @ b) for _ in range(rounds))
    return round(2 * side**3 / best / 1e9, 1)


# The same weights on both sides: ours, drawn at random, under diffusers' names.


def _random_transformer(config: TransformerConfig) -> Transformer:
    """Random weights, and norm scales that are not all one."""
    torch.manual_seed(SEED)
    network = Transformer(config).eval()
    for name, weight in network.named_parameters():
        if name.endswith("norm.scale"):
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def _diffusers_transformer(network: Transformer) -> torch.nn.Module:
    from diffusers import FluxTransformer2DModel

    config = network.config
    with torch.device("meta"):
        theirs = FluxTransformer2DModel(
            in_channels=config.in_channels,
            num_layers=config.depth,
            num_single_layers=config.depth_single_blocks,
            attention_head_dim=config.head_dim,
            num_attention_heads=config.num_heads,
            joint_attention_dim=config.context_in_dim,
            pooled_projection_dim=config.vec_in_dim,
            guidance_embeds=config.guidance_embed,
            axes_dims_rope=config.axes_dim,
        )
    state = transformer_to_diffusers(network.state_dict(), config)
    theirs.load_state_dict({name: state[name] for name in state}, assign=True)
    return theirs.eval()


def _diffusers_autoencoder(network: Autoencoder) -> torch.nn.Module:
    from diffusers import AutoencoderKL

    config: AutoencoderConfig = network.config
    levels = len(config.channel_mult)
    theirs = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(config.channels * m for m in config.channel_mult),
        layers_per_block=config.res_blocks,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        scaling_factor=config.scale_factor,
        shift_factor=config.shift_factor,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    state = autoencoder_to_diffusers(network.state_dict(), config)
    theirs.load_state_dict({name: state[name] for name in state})
    return theirs.eval()


# Part 1: one block of each kind, at FLUX.1 [dev]'s width.


def time_blocks(rounds: int) -> Iterator[Duel]:
    """256 image tokens (a 256x256 picture) and 128 text tokens, fp32, width 3072, 24 heads."""
    ours = _random_transformer(TransformerConfig(depth=1, depth_single_blocks=1))
    theirs = _diffusers_transformer(ours)
    width = ours.config.hidden_size
    img, txt, vec = torch.randn(1, 256, width), torch.randn(1, 128, width), torch.randn(1, width)
    ids = torch.cat([text_ids(128), image_ids(16, 16)])
    rope = rope_table(ids[None], ours.config.axes_dim, ours.config.theta)
    rotary = theirs.pos_embed(ids)
    joined = torch.cat([txt, img], dim=1)

    yield duel(
        "double block, width 3072",
        lambda: torch.cat(ours.double_blocks[0](img, txt, vec, rope)[::-1], dim=1),
        lambda: torch.cat(theirs.transformer_blocks[0](img, txt, vec, rotary), dim=1),
        rounds,
    )
    yield duel(
        "single block, width 3072",
        lambda: ours.single_blocks[0](joined, vec, rope),
        lambda: torch.cat(theirs.single_transformer_blocks[0](img, txt, vec, rotary), dim=1),
        rounds,
    )


# Part 2: a whole flux-mini picture from its conditioning on.


@dataclass(frozen=True)
class Sample:
    """Everything that both sides start from."""

    transformer: Transformer
    autoencoder: Autoencoder
    prompt: Conditioning
    negative: Conditioning
    noise: Tensor  # (1, tokens, channels)
    rows: int

    @property
    def times(self) -> list[float]:
        return sampling_times(FLUX_MINI_TEACHER.defaults.steps, shift_mu(self.rows**2))


def _sample() -> Sample:
    transformer = _random_transformer(FLUX_MINI_TEACHER.transformer)
    autoencoder = Autoencoder(FLUX_MINI_TEACHER.autoencoder).eval()
    config, tokens = FLUX_MINI_TEACHER.transformer, FLUX_MINI_TEACHER.text.max_tokens
    rows = FLUX_MINI_TEACHER.defaults.height // FLUX_MINI_TEACHER.size_multiple
    prompt, negative = (
        Conditioning(torch.randn(tokens, config.context_in_dim), torch.randn(config.vec_in_dim))
        for _ in range(2)
    )
    noise = pack(
        initial_noise(SEED, FLUX_MINI_TEACHER.autoencoder.latent_channels, 2 * rows, 2 * rows)
    )
    return Sample(transformer, autoencoder, prompt, negative, noise, rows)


def _pixels(picture: Image.Image) -> Tensor:
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).float()


def _draw_ours(sample: Sample) -> Tensor:
    job = Job(
        euler(sample.noise[0], sample.times),
        {"prompt": sample.prompt, "negative": sample.negative},
        classifier_free(FLUX_MINI_TEACHER.defaults.true_cfg),
        None,
        image_ids(sample.rows, sample.rows),
    )
    while not job.done:
        advance([job], sample.transformer)
    return _pixels(decode(job.x, sample.rows, sample.rows, sample.autoencoder))


def _diffusers_pipeline(transformer: torch.nn.Module, autoencoder: torch.nn.Module) -> Callable:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=autoencoder,
        transformer=transformer,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _draw_theirs(sample: Sample, pipeline: Callable) -> Tensor:
    """diffusers' own pipeline: with a negative prompt it calls the network twice a step."""
    side = sample.rows * FLUX_MINI_TEACHER.size_multiple
    (picture,) = pipeline(
        prompt_embeds=sample.prompt.txt[None],
        pooled_prompt_embeds=sample.prompt.pooled[None],
        negative_prompt_embeds=sample.negative.txt[None],
        negative_pooled_prompt_embeds=sample.negative.pooled[None],
        true_cfg_scale=FLUX_MINI_TEACHER.defaults.true_cfg,
        num_inference_steps=FLUX_MINI_TEACHER.defaults.steps,
        latents=sample.noise,
        height=side,
        width=side,
    ).images
    return _pixels(picture)


def _draw_theirs_batched(
    sample: Sample, transformer: torch.nn.Module, autoencoder: torch.nn.Module
) -> Tensor:
    """diffusers' networks in a loop of our own that, as flux1 does, evaluates both rows at once."""
    both = (sample.prompt, sample.negative)
    txt, pooled = (torch.stack([getattr(c, part) for c in both]) for part in ("txt", "pooled"))
    x, combine = sample.noise, classifier_free(FLUX_MINI_TEACHER.defaults.true_cfg).combine
    steps = euler(x, sample.times)
    x, t = next(steps)
    while True:
        velocities = transformer(
            hidden_states=x.expand(2, -1, -1),
            encoder_hidden_states=txt,
            pooled_projections=pooled,
            timestep=torch.full((2,), t),
            img_ids=image_ids(sample.rows, sample.rows),
            txt_ids=text_ids(txt.shape[1]),
            return_dict=False,
        )[0]
        try:
            x, t = steps.send(combine(velocities.chunk(2)))
        except StopIteration as finished:
            latents = unpack(finished.value, sample.rows, sample.rows)
            break
    config = FLUX_MINI_TEACHER.autoencoder
    pixels = autoencoder.decode(latents / config.scale_factor + config.shift_factor).sample[0]
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).flatten()


def time_mini(rounds: int) -> Iterator[Duel]:
    """256x256, 28 steps, classifier-free guidance, decoded to 8 bits; text encoding left out."""
    sample = _sample()
    transformer = _diffusers_transformer(sample.transformer)
    autoencoder = _diffusers_autoencoder(sample.autoencoder)
    pipeline = _diffusers_pipeline(transformer, autoencoder)
    yield duel(
        "flux-mini picture, beside diffusers' FluxPipeline",
        lambda: _draw_ours(sample),
        lambda: _draw_theirs(sample, pipeline),
        rounds,
    )
    yield duel(
        "flux-mini picture, beside diffusers' networks, rows batched",
        lambda: _draw_ours(sample),
        lambda: _draw_theirs_batched(sample, transformer, autoencoder),
        rounds,
    )


# Part 3: from nothing to a picture, beside diffusers' import alone.


# Started from a process of its own that is small: Linux lets a child's peak begin at its parent's.
_LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, done.stderr, seconds, peak / 1024]))
"""


def _process(command: list[str], folder: str) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of a process; it must succeed."""
    launch = [sys.executable, "-S", "-c", _LAUNCHER, *command]
    told = subprocess.run(launch, cwd=folder, capture_output=True, text=True, check=True)
    code, stderr, seconds, peak = json.loads(told.stdout)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{stderr}")
    return seconds, peak


def time_cold(rounds: int) -> Iterator[Duel]:
    """A process that draws and saves a picture, beside one that imports and does nothing."""
    ours = [sys.executable, "-m", "flux1", "generate", PROMPT, "--seed", "1", "--output", "fox.png"]
    theirs = [sys.executable, "-c", "from diffusers import FluxPipeline"]
    with tempfile.TemporaryDirectory() as folder:
        _process(ours, folder), _process(theirs, folder)  # both read from the disk's cache
        pairs = [(_process(ours, folder), _process(theirs, folder)) for _ in range(rounds)]
    for i, (what, unit) in enumerate((("time", "s"), ("peak memory", "MiB"))):
        name = f"cold `flux1 generate`, beside importing diffusers' FluxPipeline: {what}"
        yield Duel(name, unit, [a[i] for a, _ in pairs], [b[i] for _, b in pairs])
    small = {"`flux1 --help`": ["-m", "flux1", "--help"], "`import flux1`": ["-c", "import flux1"]}
    for what, words in small.items():
        with tempfile.TemporaryDirectory() as folder:
            times = [_process([sys.executable, *words], folder)[0] for _ in range(rounds)]
        yield Duel(f"{what}, beside the same import", "s", times, [b[0] for _, b in pairs])


PARTS = {"blocks": time_blocks, "mini": time_mini, "cold": time_cold}


def show(duels: list[Duel], before: float, after: float) -> None:
    title = (
        f"flux1 / diffusers, {torch.get_num_threads()} threads, sgemm {before} and {after} GFLOP/s"
    )
    table = Table("what", "flux1 min", "median", "diffusers min", "median", "ratio of minima",
                  "of medians", "largest difference", title=title)  # fmt: skip
    for d in duels:
        figures = (
            min(d.ours),
            statistics.median(d.ours),
            min(d.theirs),
            statistics.median(d.theirs),
        )
        table.add_row(
            d.name,
            *(f"{figure:.3f} {d.unit}" for figure in figures),
            f"{d.ratio_of_minima:.2f}",
            f"{d.ratio_of_medians:.2f}",
            "" if d.difference is None else f"{d.difference:.1e}",
        )
    Console().print(table)


def main(
    parts: Annotated[str, typer.Option(help="Which parts, with commas between.")] = ",".join(PARTS),
    threads: Annotated[int, typer.Option(help="0: as many as torch likes.")] = 0,
    rounds: Annotated[int, typer.Option(help="Turns of each side.")] = 7,
    label: Annotated[str, typer.Option(help="Added to the result file's name.")] = "",
) -> None:
    """Time each part on both sides in turn, print the ratios, write all times."""
    if threads:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for the processes of the part `cold`
    about, before, duels = machine.about(), calibration(), []
    for part in parts.split(","):
        with torch.inference_mode():
            duels += PARTS[part](rounds)
        gc.collect()
    after = calibration()
    show(duels, before, after)
    result = {
        "machine": about,
        "seed": SEED,
        "sgemm_gflops": {"before": before, "after": after},
        "duels": [
            asdict(d)
            | {"ratio_of_minima": d.ratio_of_minima, "ratio_of_medians": d.ratio_of_medians}
            for d in duels
        ],
    }
    machine.result_path("speed", label).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
