"""A whole generation in latent space, beside diffusers' FluxPipeline on the same files."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
)
from diffusers import FluxPipeline as DiffusersPipeline

from flux1 import FluxPipeline
from flux1.pipeline.advance import advance
from flux1.request import make_request
from synthetic import make_diffusers_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_diffusers_folder(tmp_path_factory.mktemp("synthetic") / "flux-dev")


@pytest.fixture(scope="module")
def theirs(folder):
    pipeline = DiffusersPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
        ),
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=FluxTransformer2DModel.from_pretrained(folder / "transformer"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("true_cfg", [1.0, 2.5])
@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 48)])
def test_four_steps_end_at_the_same_latents(folder, theirs, true_cfg, width, height):
    ours = FluxPipeline.from_pretrained(folder)
    request = make_request(
        ours.variant, "a red fox", seed=5, steps=4, guidance=3.0, width=width, height=height,
        true_cfg=true_cfg, negative_prompt="a tree" if true_cfg > 1 else None,
    )  # fmt: skip
    job = ours.start(request, seed=5)
    noise = job.x.clone()
    while not job.done:
        advance([job], ours.transformer)

    positive, negative = ours.encode("a red fox"), ours.encode("a tree")
    drawn = theirs(
        prompt_embeds=positive.txt[None],
        pooled_prompt_embeds=positive.pooled[None],
        negative_prompt_embeds=negative.txt[None],
        negative_pooled_prompt_embeds=negative.pooled[None],
        true_cfg_scale=true_cfg,
        guidance_scale=3.0,
        num_inference_steps=4,
        width=width,
        height=height,
        latents=noise[None],
        output_type="latent",
    ).images[0]
    assert (job.x - noise).abs().max() > 0.1
    torch.testing.assert_close(job.x, drawn, atol=1e-5, rtol=0)
