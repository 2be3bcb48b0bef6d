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

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from runpy import run_path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
)
from diffusers import FluxPipeline as DiffusersPipeline
from PIL import Image, ImageChops
from rich.console import Console
from torch import Tensor

from flux1 import FluxPipeline
from flux1.model.stored import StoredLinear
from flux1.model.transformer import Transformer
from flux1.pipeline.advance import advance
from flux1.request import make_request
from flux1.training.distributed import ALONE
from flux1.training.finetune.run import Finetune
from flux1.training.finetune.settings import Pictures, RunOptions, choose_settings
from flux1.weights.convert import plan_conversion
from flux1.weights.load import load_transformer
from flux1.weights.lora.read import merge_lora, read_lora
from flux1.weights.model_files import Source
from flux1.weights.numbers.keep import Keep
from flux1.weights.numbers.quantize import Quantization
from flux1.weights.save import save_diffusers
from flux1.weights.sources import locate
from machine import about, result_path

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
        return replace(found, files=replace(found.files, transformer=self.file))


def learn(base: Base, model: str, pictures: Path, out: Path, steps: int) -> Path:
    source = base.source(model)
    settings = choose_settings(
        source.variant, torch.float32, rank=RANK, alpha=ALPHA, steps=steps, keep=base.keep,
        quantize=base.quantize,
    )  # fmt: skip
    run = Finetune(
        source, Pictures(pictures), settings, RunOptions(), out, out / "cache", Console(), CPU,
        ALONE,
    )  # fmt: skip
    made = run.run()
    assert made is not None
    return made


def latents(pipe: FluxPipeline, loras: Sequence[str] = ()) -> list[Tensor]:
    """Of each prompt, its number the seed, as the model draws by default."""
    found = []
    for seed, prompt in enumerate(PROMPTS):
        request = make_request(pipe.variant, prompt, seed=seed, loras=loras)
        for file in loras:
            pipe.load_lora(file)
        job = pipe.start(request, seed)
        while not job.done:
            advance([job], pipe.transformer)
        found.append(job.x)
    return found


def diffusers_latents(
    pipe: FluxPipeline, transformer: FluxTransformer2DModel, vae: Path, file: Path
) -> list[Tensor]:
    theirs = DiffusersPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
        ),
        vae=AutoencoderKL.from_pretrained(vae), text_encoder=None, tokenizer=None,
        text_encoder_2=None, tokenizer_2=None, transformer=transformer,
    )  # fmt: skip
    theirs.set_progress_bar_config(disable=True)
    theirs.load_lora_weights(str(file))
    found = []
    for seed, prompt in enumerate(PROMPTS):
        request, words = make_request(pipe.variant, prompt, seed=seed), pipe.encode(prompt)
        drawn = theirs(
            prompt_embeds=words.txt[None], pooled_prompt_embeds=words.pooled[None],
            guidance_scale=request.guidance, num_inference_steps=request.steps,
            width=request.width, height=request.height, latents=pipe.start(request, seed).x[None],
            output_type="latent",
        )  # fmt: skip
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


def compared(pipe: FluxPipeline, one: list[Tensor], other: list[Tensor]) -> dict[str, float]:
    """The greatest differences: of latents, and of pictures in 255 levels."""
    requests = [make_request(pipe.variant, prompt, seed=0) for prompt in PROMPTS]

    def shown(tokens: list[Tensor]) -> list[Image.Image]:
        return [pipe.decode(x, request) for x, request in zip(tokens, requests, strict=True)]

    levels = [
        max(high for _, high in ImageChops.difference(a, b).getextrema())
        for a, b in zip(shown(one), shown(other), strict=True)
    ]
    apart = [(a - b).abs().max().item() for a, b in zip(one, other, strict=True)]
    return {"latents": max(apart), "levels": max(levels)}


def measured(name: str, base: Base, model: str, folder: Path, steps: int) -> dict:
    file = learn(base, model, folder / "pictures", folder / name, steps)
    pipe = FluxPipeline.from_pretrained(model)
    path = base.file or base.source(model).files.transformer
    network = load_transformer(
        path, pipe.variant.transformer, torch.float32, CPU, base.keep, base.quantize
    )
    plain, vae = folder / f"{name}-diffusers", folder / "vae"
    save_diffusers(decoded(network), plain)
    save_diffusers(pipe.autoencoder, vae)
    theirs = FluxTransformer2DModel.from_pretrained(plain)
    beside = replace(pipe, transformer=network)
    here = latents(beside, [str(file)])
    found = {
        "diffusers": compared(pipe, here, diffusers_latents(pipe, theirs, vae, file)),
        "merged": compared(pipe, here, latents(replace(pipe, transformer=merged(network, file)))),
        "without_the_lora": compared(pipe, here, latents(replace(pipe, transformer=network))),
    }
    print(name, found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="flux-mini")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    machine = about()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ZORB["write"](folder / "pictures")
        gguf = folder / "transformer.gguf"
        plan_conversion(asked.model, gguf, "gguf", "q8_0").write()
        bases = {
            "plain": Base(),
            "gguf": Base(gguf, keep="packed"),
            "int8": Base(quantize="int8"),
        }
        result = {
            "machine": machine, "model": asked.model, "steps": asked.steps, "rank": RANK,
            "alpha": ALPHA, "prompts": PROMPTS,
            "apart": {
                name: measured(name, base, asked.model, folder, asked.steps)
                for name, base in bases.items()
            },
        }  # fmt: skip
    path = result_path("lora-everywhere")
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    main()
