"""One trained LoRA, drawn here, in diffusers, and merged into the weights: the same pictures?

    python benchmarks/lora_everywhere.py --threads 2

On each of three bases a LoRA learns twelve pictures for a few steps, at alpha != rank:

    plain   the weights of the model's file, decoded; queries, keys and values are one fused layer
            (in diffusers three)
    gguf    q8_0, kept packed
    int8    quantised when it was loaded

Then the same prompts and seeds are drawn with the LoRA beside its base here, by diffusers'
pipeline that has loaded the file, and here again with the LoRA merged into decoded weights. Said is
how far final latents and pictures are apart, and, to compare, how far the LoRA moved them.
Of a quantised base, diffusers gets the numbers that it stands for: its own GGUF reader knows
FLUX.1's widths alone.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from runpy import run_path
from typing import Annotated

import torch
import typer
from PIL import Image, ImageChops
from rich.console import Console
from torch import Tensor

from flux1 import FluxPipeline
from flux1.model.stored import StoredLinear
from flux1.model.transformer import Transformer
from flux1.pipeline.advance import advance
from flux1.request import ImageRequest, make_request
from flux1.training.distributed import ALONE
from flux1.training.finetune.choose import choose_settings
from flux1.training.finetune.run import Finetune
from flux1.training.finetune.settings import Pictures, RunOptions
from flux1.weights.checkpoint import Checkpoint
from flux1.weights.convert import plan_conversion
from flux1.weights.load import Storage, load_network
from flux1.weights.lora.read import merge_lora, read_lora
from flux1.weights.model_files import Source
from flux1.weights.numbers.keep import Keep
from flux1.weights.numbers.quantize import Quantization
from flux1.weights.sources import locate
from measure.machine import Threads, about, use_threads
from measure.results import RESULTS, Label, Out, result_path, write_result
from twins import diffusers_autoencoder, diffusers_pipeline, diffusers_transformer

ZORB = run_path(str(Path(__file__).parents[1] / "examples" / "draw_zorb.py"))
RANK, ALPHA, CPU = 8, 24.0, torch.device("cpu")
PROMPTS = ("a zorb on a red background", "a zorb to the left of a tree on a white background")


@dataclass(frozen=True)
class Base:
    """What a LoRA is trained on: a file for the transformer (None: the model's own), and how its
    weights are kept."""

    file: Path | None = None
    keep: Keep = "plain"
    quantize: Quantization | None = None

    def source(self, model: str) -> Source:
        found = locate(model)
        if self.file is None:
            return found
        assert found.files is not None
        networks = {**found.files.networks, "transformer": Checkpoint(self.file)}
        return replace(found, files=replace(found.files, networks=networks))


def learn(base: Base, model: str, pictures: Path, out: Path, steps: int) -> Path:
    source = base.source(model)
    settings = choose_settings(
        source.variant,
        torch.float32,
        rank=RANK,
        alpha=ALPHA,
        steps=steps,
        keep=base.keep,
        quantize=base.quantize,
    )
    run = Finetune(
        source,
        Pictures((pictures,)),
        settings,
        RunOptions(),
        out,
        out / "cache",
        Console(),
        CPU,
        ALONE,
    )
    made = run.run()
    assert made is not None
    return made


@dataclass(frozen=True)
class Drawing:
    """How the pictures are drawn; None is the model's own default."""

    side: int | None = None
    steps: int | None = None

    def requests(self, pipe: FluxPipeline, loras: Sequence[str] = ()) -> list[ImageRequest]:
        """One of each prompt, its number the seed."""
        sizes = {"width": self.side, "height": self.side, "steps": self.steps}
        return [
            make_request(pipe.variant, prompt, seed=seed, loras=loras, **sizes)
            for seed, prompt in enumerate(PROMPTS)
        ]


def latents(pipe: FluxPipeline, drawing: Drawing, loras: Sequence[str] = ()) -> list[Tensor]:
    found = []
    for request in drawing.requests(pipe, loras):
        for file in loras:
            pipe.load_lora(file)
        job = pipe.start(request, request.seed)
        while not job.done:
            advance([job], pipe.transformer)
        found.append(job.x)
    return found


def diffusers_latents(
    pipe: FluxPipeline, drawing: Drawing, plain: Transformer, file: Path
) -> list[Tensor]:
    """The same of diffusers' pipeline, with the numbers of this network and the LoRA's file."""
    twins = diffusers_transformer(plain), diffusers_autoencoder(pipe.autoencoder)
    theirs = diffusers_pipeline(*twins)
    theirs.load_lora_weights(str(file))
    found = []
    for request in drawing.requests(pipe):
        words, noise = pipe.encode(request.prompt), pipe.start(request, request.seed).x
        drawn = theirs(
            prompt_embeds=words.txt[None],
            pooled_prompt_embeds=words.pooled[None],
            guidance_scale=request.guidance,
            num_inference_steps=request.steps,
            width=request.width,
            height=request.height,
            latents=noise[None],
            output_type="latent",
        )
        found.append(drawn.images[0])
    return found


def decoded(network: Transformer) -> Transformer:
    """The same numbers in plain layers."""
    state = dict(network.state_dict())
    for name, module in network.named_modules():
        if isinstance(module, StoredLinear):
            state[f"{name}.weight"] = module.weight
    with torch.device("meta"):
        plain = Transformer(network.config)
    plain.load_state_dict(state, assign=True)
    return plain.eval()


def merged(network: Transformer, file: Path) -> Transformer:
    plain = decoded(network)
    with torch.no_grad():
        state = merge_lora(plain.state_dict(), read_lora(file, plain.config))
        plain.load_state_dict({name: state[name] for name in state}, assign=True)
    return plain


def compared(
    pipe: FluxPipeline, drawing: Drawing, one: list[Tensor], other: list[Tensor]
) -> dict[str, float]:
    """The greatest differences: of latents, and of pictures in 255 levels."""

    def shown(tokens: list[Tensor]) -> list[Image.Image]:
        pairs = zip(tokens, drawing.requests(pipe), strict=True)
        return [pipe.decode(x, request) for x, request in pairs]

    levels = [
        max(high for _, high in ImageChops.difference(a, b).getextrema())
        for a, b in zip(shown(one), shown(other), strict=True)
    ]
    apart = [(a - b).abs().max().item() for a, b in zip(one, other, strict=True)]
    return {"latents": max(apart), "levels": max(levels)}


def measured(
    base: Base, model: str, pictures: Path, out: Path, steps: int, drawing: Drawing
) -> dict[str, dict[str, float]]:
    """Train a LoRA on this base; how far its pictures are from the others' and from the base's."""
    file = learn(base, model, pictures, out, steps)
    pipe = FluxPipeline.from_pretrained(model)
    storage = Storage(torch.float32, CPU, base.keep, base.quantize)
    checkpoint = base.source(model).files.networks["transformer"]
    network = load_network(checkpoint, "transformer", pipe.variant.transformer, storage)
    beside = FluxPipeline(replace(pipe.networks, transformer=network))
    with_it = FluxPipeline(replace(pipe.networks, transformer=merged(network, file)))
    here = latents(beside, drawing, [str(file)])
    without = FluxPipeline(replace(pipe.networks, transformer=network))
    others = {
        "diffusers": diffusers_latents(pipe, drawing, decoded(network), file),
        "merged": latents(with_it, drawing),
        "without_the_lora": latents(without, drawing),
    }
    return {name: compared(pipe, drawing, here, other) for name, other in others.items()}


def main(
    model: Annotated[str, typer.Option(help="What the LoRAs are of.")] = "flux-mini",
    steps: Annotated[int, typer.Option(min=1, help="That each LoRA learns.")] = 40,
    side: Annotated[int | None, typer.Option(help="Of the pictures; else the model's.")] = None,
    sampling_steps: Annotated[int | None, typer.Option(help="Else the model's.")] = None,
    threads: Threads = 2,
    label: Label = "",
    out: Out = RESULTS,
) -> None:
    """Train a LoRA on each base, draw with it everywhere, write how far the pictures are apart."""
    use_threads(threads)
    machine = about()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ZORB["write"](folder / "pictures")
        gguf = folder / "transformer.gguf"
        plan_conversion(model, gguf, "gguf", "q8_0").write()
        bases = {
            "plain": Base(),
            "gguf": Base(gguf, keep="packed"),
            "int8": Base(quantize="int8"),
        }
        drawing, apart = Drawing(side, sampling_steps), {}
        for name, base in bases.items():
            apart[name] = measured(base, model, folder / "pictures", folder / name, steps, drawing)
            print(name, apart[name])
    figures = {
        "model": model,
        "steps": steps,
        "rank": RANK,
        "alpha": ALPHA,
        "prompts": PROMPTS,
        "apart": apart,
    }
    write_result(result_path("lora-everywhere", label, out), machine, figures)


if __name__ == "__main__":
    typer.run(main)
