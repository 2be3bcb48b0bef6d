"""How fast, beside diffusers, on the same weights, in the same run.

    python benchmarks/speed.py                          # all three parts
    python benchmarks/speed.py --parts blocks --threads 1
    python benchmarks/speed.py --scale tiny --rounds 1  # seconds; the figures mean nothing

The two sides take turns (A B A B), so that a busy machine slows both; a matrix product of known
cost, timed before and after, says how busy it was. A ratio below 1 means that flux1 is faster.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import torch
import typer
from PIL import Image
from torch import Tensor, nn

from flux1 import FluxPipeline, ImageRequest, make_request
from flux1.flow.guidance import classifier_free
from flux1.flow.schedule import sampling_times, shift_mu
from flux1.flow.solvers import euler
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import TransformerConfig
from flux1.model.patches import image_ids, text_ids, unpack
from flux1.model.rope import rope_table
from flux1.pipeline.encode import Conditioning
from flux1.pipeline.loaded import Loaded
from flux1.variants import FLUX_MINI_TEACHER, TINY, Variant
from measure.machine import Threads, about, use_threads
from measure.processes import Process, run_python
from measure.results import RESULTS, Label, Out, Table, result_path, write_result
from measure.turns import paired_median, take_turns
from twins import (
    diffusers_autoencoder,
    diffusers_pipeline,
    diffusers_transformer,
    random_transformer,
)

SEED = 31_337
PROMPT = "a red fox on a blue background"


@dataclass(frozen=True)
class Scale:
    """What is timed: a block of each kind of this width, a picture of this model."""

    blocks: TransformerConfig
    teacher: Variant
    calibration: int  # side of the matrices whose product says how busy the machine is


def _teacher(variant: Variant) -> Variant:
    """A model like this one that draws with classifier-free guidance."""
    return replace(
        variant,
        transformer=replace(variant.transformer, guidance_embed=False),
        defaults=replace(variant.defaults, guidance=None, true_cfg=3.5),
    )


SCALES = {
    "full": Scale(TransformerConfig(depth=1, depth_single_blocks=1), FLUX_MINI_TEACHER, 2048),
    "tiny": Scale(TINY.transformer, _teacher(TINY), 64),
}


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
    def paired_median(self) -> float:
        return paired_median(self.ours, self.theirs)

    def figures(self) -> dict:
        ratios = {
            "ratio_of_minima": self.ratio_of_minima,
            "median_of_ratios": self.paired_median,
        }
        return asdict(self) | ratios


def duel(name: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor], rounds: int) -> Duel:
    """Compare the outputs once (which also warms both up), then time them in turn."""
    a, b = ours(), theirs()
    difference = ((a - b).abs().max() / b.abs().max()).item()
    times = take_turns({"ours": ours, "theirs": theirs}, rounds)
    return Duel(name, "s", times["ours"].clock, times["theirs"].clock, difference)


def calibration(side: int, rounds: int = 5) -> float:
    """GFLOP/s of a side^3 fp32 matrix product, the best of a few."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    best = min(take_turns({"product": lambda: a @ b}, rounds)["product"].clock)
    return round(2 * side**3 / best / 1e9, 1)


# Part 1: one block of each kind, at FLUX.1 [dev]'s width.


def time_blocks(scale: Scale, rounds: int) -> Iterator[Duel]:
    """256 image tokens (a 256x256 picture) and 128 text tokens, fp32, width 3072, 24 heads."""
    ours = random_transformer(scale.blocks, SEED)
    theirs = diffusers_transformer(ours)
    width = ours.config.hidden_size
    img, txt, vec = torch.randn(1, 256, width), torch.randn(1, 128, width), torch.randn(1, width)
    ids = torch.cat([text_ids(128), image_ids(16, 16)])
    rope = rope_table(ids[None], ours.config.axes_dim, ours.config.theta)
    rotary = theirs.pos_embed(ids)
    joined = torch.cat([txt, img], dim=1)
    double, single = ours.double_blocks[0], ours.single_blocks[0]

    yield duel(
        f"double block, width {width}",
        lambda: torch.cat(double(img, txt, vec, rope)[::-1], dim=1),
        lambda: torch.cat(theirs.transformer_blocks[0](img, txt, vec, rotary), dim=1),
        rounds,
    )
    yield duel(
        f"single block, width {width}",
        lambda: single(joined, vec, rope),
        lambda: torch.cat(theirs.single_transformer_blocks[0](img, txt, vec, rotary), dim=1),
        rounds,
    )


# Part 2: a whole picture from its conditioning on.


@dataclass(frozen=True)
class RandomText:
    """Stands where the text encoder does, whose time is left out on both sides."""

    variant: Variant
    networks: tuple[nn.Module, ...] = ()

    def __call__(self, prompts: Sequence[str], at_least: int | None = None) -> list[Conditioning]:
        config = self.variant.transformer
        txt = self.variant.text.max_tokens, config.context_in_dim
        return [Conditioning(torch.randn(txt), torch.randn(config.vec_in_dim)) for _ in prompts]

    def count(self, prompt: str) -> int:
        """Always as many as are drawn."""
        return self.variant.text.max_tokens


@dataclass(frozen=True)
class Sample:
    """Everything that both sides start from."""

    pipeline: FluxPipeline
    request: ImageRequest

    @property
    def grid(self) -> tuple[int, int]:
        multiple = self.pipeline.variant.size_multiple
        return self.request.height // multiple, self.request.width // multiple

    @property
    def times(self) -> list[float]:
        rows, columns = self.grid
        return sampling_times(self.request.steps, shift_mu(rows * columns))

    @property
    def noise(self) -> Tensor:
        """(1, tokens, channels)."""
        return self.pipeline.start(self.request, self.request.seed).x[None]

    def words(self) -> tuple[Conditioning, Conditioning]:
        """The prompt, and the empty one that guidance leads away from."""
        found = self.pipeline.conditions(self.request)
        return found["prompt"], found["negative"]


def _sample(variant: Variant) -> Sample:
    networks = Loaded(
        variant,
        random_transformer(variant.transformer, SEED),
        Autoencoder(variant.autoencoder).eval(),
        RandomText(variant),
    )
    return Sample(FluxPipeline(networks), make_request(variant, PROMPT, seed=SEED))


def _levels(picture: Image.Image) -> Tensor:
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).float()


def _draw_ours(sample: Sample) -> Tensor:
    return _levels(sample.pipeline.draw(sample.request).images[0])


def _draw_theirs(sample: Sample, pipeline: Callable) -> Tensor:
    """diffusers' own pipeline: with a negative prompt it calls the network twice a step."""
    request, (prompt, negative) = sample.request, sample.words()
    (picture,) = pipeline(
        prompt_embeds=prompt.txt[None],
        pooled_prompt_embeds=prompt.pooled[None],
        negative_prompt_embeds=negative.txt[None],
        negative_pooled_prompt_embeds=negative.pooled[None],
        true_cfg_scale=request.true_cfg,
        num_inference_steps=request.steps,
        latents=sample.noise,
        height=request.height,
        width=request.width,
    ).images
    return _levels(picture)


def _draw_theirs_batched(sample: Sample, transformer: nn.Module, autoencoder: nn.Module) -> Tensor:
    """diffusers' networks in a loop of our own that, as flux1 does, evaluates both rows at once."""
    both, grid = sample.words(), sample.grid
    txt, pooled = (torch.stack([getattr(c, part) for c in both]) for part in ("txt", "pooled"))
    combine = classifier_free(sample.request.true_cfg).combine
    steps = euler(sample.noise, sample.times)
    x, t = next(steps)
    while True:
        velocities = transformer(
            hidden_states=x.expand(2, -1, -1),
            encoder_hidden_states=txt,
            pooled_projections=pooled,
            timestep=torch.full((2,), t),
            img_ids=image_ids(*grid),
            txt_ids=text_ids(txt.shape[1]),
            return_dict=False,
        )[0]
        try:
            x, t = steps.send(combine(velocities.chunk(2)))
        except StopIteration as finished:
            latents = unpack(finished.value, *grid)
            break
    config = sample.pipeline.variant.autoencoder
    pixels = autoencoder.decode(latents / config.scale_factor + config.shift_factor).sample[0]
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).flatten()


def time_mini(scale: Scale, rounds: int) -> Iterator[Duel]:
    """256x256, 28 steps, classifier-free guidance, decoded to 8 bits; text encoding left out."""
    sample = _sample(scale.teacher)
    transformer = diffusers_transformer(sample.pipeline.networks.transformer)
    autoencoder = diffusers_autoencoder(sample.pipeline.networks.autoencoder)
    pipeline = diffusers_pipeline(transformer, autoencoder)
    yield duel(
        f"{scale.teacher.id} picture, beside diffusers' FluxPipeline",
        lambda: _draw_ours(sample),
        lambda: _draw_theirs(sample, pipeline),
        rounds,
    )
    yield duel(
        f"{scale.teacher.id} picture, beside diffusers' networks, rows batched",
        lambda: _draw_ours(sample),
        lambda: _draw_theirs_batched(sample, transformer, autoencoder),
        rounds,
    )


# Part 3: from nothing to a picture, beside diffusers' import alone.


def time_cold(scale: Scale, rounds: int) -> Iterator[Duel]:
    """A process that draws and saves a picture, beside one that imports and does nothing."""
    with tempfile.TemporaryDirectory() as folder:

        def python(*words: str) -> Process:
            return run_python(*words, cwd=folder)

        def ours() -> Process:
            return python("-m", "flux1", "generate", PROMPT, "--seed", "1", "-o", "fox.png")

        def theirs() -> Process:
            return python("-c", "from diffusers import FluxPipeline")

        ours(), theirs()  # both are then read from the disk's cache
        pairs = [(ours(), theirs()) for _ in range(rounds)]
        small = {
            "`flux1 --help`": [python("-m", "flux1", "--help") for _ in range(rounds)],
            "`import flux1`": [python("-c", "import flux1") for _ in range(rounds)],
        }
    imports = [b.wall_s for _, b in pairs]
    name = "cold `flux1 generate`, beside importing diffusers' FluxPipeline"
    yield Duel(f"{name}: time", "s", [a.wall_s for a, _ in pairs], imports)
    peaks = [a.peak_mib for a, _ in pairs], [b.peak_mib for _, b in pairs]
    yield Duel(f"{name}: peak memory", "MiB", *peaks)
    for what, runs in small.items():
        yield Duel(f"{what}, beside the same import", "s", [run.wall_s for run in runs], imports)


PARTS = {"blocks": time_blocks, "mini": time_mini, "cold": time_cold}


def table(duels: list[Duel], before: float, after: float) -> Table:
    threads = torch.get_num_threads()
    title = f"flux1 / diffusers, {threads} threads, sgemm {before} and {after} GFLOP/s"
    columns = (
        "what",
        "flux1 least",
        "median",
        "diffusers least",
        "median",
        "ratio of the least",
        "median of ratios",
        "largest difference",
    )
    rows = []
    for d in duels:
        figures = [f(side) for side in (d.ours, d.theirs) for f in (min, statistics.median)]
        rows.append(
            (
                d.name,
                *(f"{figure:.3f} {d.unit}" for figure in figures),
                f"{d.ratio_of_minima:.2f}",
                f"{d.paired_median:.2f}",
                "" if d.difference is None else f"{d.difference:.1e}",
            )
        )
    return Table(title, columns, tuple(rows))


def main(
    parts: Annotated[str, typer.Option(help="Which parts, with commas between.")] = ",".join(PARTS),
    threads: Threads = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 7,
    scale: Annotated[str, typer.Option(help="full or tiny.")] = "full",
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Time each part on both sides in turn, print the ratios, write all times."""
    use_threads(threads)
    machine, sizes, duels = about(), SCALES[scale], []
    before = calibration(sizes.calibration)
    for part in parts.split(","):
        with torch.inference_mode():
            duels += PARTS[part](sizes, rounds)
    after = calibration(sizes.calibration)
    table(duels, before, after).show()
    figures = {
        "seed": SEED,
        "sgemm_gflops": {"before": before, "after": after},
        "duels": [one.figures() for one in duels],
    }
    write_result(result_path("speed", label, out), machine, figures)


if __name__ == "__main__":
    typer.run(main)
