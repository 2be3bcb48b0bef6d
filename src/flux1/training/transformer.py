"""Code that the objectives of the transformer share: first weights, a prediction, groups, a
preview."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from flux1.events import Finished
from flux1.model.patches import image_ids, text_ids
from flux1.model.transformer import Transformer
from flux1.pipeline.loaded import Loaded
from flux1.pipeline.pipeline import FluxPipeline
from flux1.request import make_request
from flux1.training.objective import ParameterGroups, sheet


@dataclass(frozen=True)
class Batch:
    """Image tokens with their captions' features. `grid`: rows and columns of tokens."""

    tokens: Float[Tensor, "b image c"]
    txt: Float[Tensor, "b text d"]
    pooled: Float[Tensor, "b p"]
    grid: tuple[int, int]


def initialise(model: Transformer, context_std: float = 0.4) -> None:
    """Weights to start from: modulation and output at zero, so that every block begins as the
    identity (Peebles & Xie 2023); text projections scaled for features of that deviation; a
    guidance embedding that says nothing yet."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)
    for embedder in (model.txt_in, model.vector_in.in_layer):
        nn.init.normal_(embedder.weight, std=embedder.in_features**-0.5 / context_std)
    for name, module in model.named_modules():
        silent = name.endswith((".lin", "adaLN_modulation.1"))
        if silent or name in ("final_layer.linear", "guidance_in.out_layer"):
            nn.init.zeros_(module.weight)


def predict(
    model: nn.Module,
    x: Float[Tensor, "b image c"],
    t: Float[Tensor, " b"],
    words: Batch,
    guidance: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, "b image c"]:
    """The velocity of a transformer (or of one with branches) at x and t, under a batch's words."""
    count, device = len(x), x.device
    predicted: Tensor = model(
        x,
        image_ids(*words.grid).to(device).expand(count, -1, -1),
        words.txt,
        text_ids(words.txt.shape[1]).to(device).expand(count, -1, -1),
        t,
        words.pooled,
        guidance,
    )
    return predicted.float()


def squared_error(
    predicted: Float[Tensor, "b image c"],
    wanted: Float[Tensor, "b image c"],
    t: Float[Tensor, " b"],
) -> tuple[Tensor, dict[str, float]]:
    """The mean over everything, and, for the log, that of early and of late times apart."""
    errors = squared_errors(predicted, wanted)
    return errors.mean(), by_time(errors.detach(), t)


def squared_errors(
    predicted: Float[Tensor, "b image c"], wanted: Float[Tensor, "b image c"]
) -> Float[Tensor, " b"]:
    """The mean of each row."""
    return F.mse_loss(predicted, wanted, reduction="none").mean(dim=(1, 2))


def by_time(errors: Float[Tensor, " b"], t: Float[Tensor, " b"]) -> dict[str, float]:
    """Means of the errors at early and at late times, for the log."""
    noisy = t > 0.6
    figures = {"low_t": errors[~noisy], "high_t": errors[noisy]}
    return {k: v.mean().item() for k, v in figures.items() if len(v)}


def parameter_groups(model: nn.Module) -> ParameterGroups:
    """Muon moves the matrices inside the blocks; embeddings, modulation, norms and the output
    layer are AdamW's."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = "_blocks." in name and parameter.ndim == 2
        hidden = inside and not name.endswith(".lin.weight")
        (matrices if hidden else others).append(parameter)
    return ParameterGroups(matrices, others)


def recompute_blocks(model: Transformer) -> None:
    """Keep only the inputs of each block for the gradient, and compute the rest of it again: the
    same numbers, a third more work, and far less memory."""
    for block in (*model.double_blocks, *model.single_blocks):
        block.__dict__["forward"] = partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )


def drawn_sheet(
    networks: Loaded, prompts: Sequence[str], grid: tuple[int, int], **asked: Any
) -> Image.Image:
    """One picture for each prompt, `grid` tokens high and wide; `asked` as in `make_request`."""
    side = networks.variant.size_multiple
    height, width = grid[0] * side, grid[1] * side
    requests = [
        make_request(networks.variant, prompt, width=width, height=height, seed=i, **asked)
        for i, prompt in enumerate(prompts)
    ]
    events = FluxPipeline(networks).stream(requests)
    drawn = [event for event in events if isinstance(event, Finished)]
    drawn.sort(key=lambda event: event.image)
    return sheet([event.picture for event in drawn], columns=8)
