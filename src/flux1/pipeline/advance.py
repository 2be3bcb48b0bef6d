"""The heart: one model call moves many jobs by one evaluation each."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from flux1.model.lora import active_adapters
from flux1.model.transformer import Transformer
from flux1.pipeline.batch import batch, shape_of
from flux1.pipeline.job import Job, Row
from flux1.pipeline.memory import explain_out_of_memory
from flux1.pipeline.modulation_cache import modulation_cache
from flux1.presets import Preset

# Bounds the memory of a call. What is drawn does not depend on it beyond rounding.
TOKENS_PER_CALL = 16_384


def advance(
    jobs: Sequence[Job], transformer: Transformer, tokens_per_call: int = TOKENS_PER_CALL
) -> None:
    """Evaluate every job's rows and hand each its velocities, in the order of its rows.

    Jobs may differ in everything: solver, step count, guidance, seed, time, LoRAs.
    """
    for job, answers in zip(jobs, evaluate(jobs, transformer, tokens_per_call), strict=True):
        job.receive(answers)


@torch.no_grad()
def evaluate(
    jobs: Sequence[Job], transformer: Transformer, tokens_per_call: int = TOKENS_PER_CALL
) -> list[list[Float[Tensor, "image c"]]]:
    """Each job's velocities, in the order of its rows. No job moves before it receives them.

    Rows of one shape (image tokens, text tokens) share a model call of at most `tokens_per_call`
    (or of one row); each further shape is a call more.
    """
    modulation_cache(transformer).fill(jobs)
    rows = [row for job in jobs for row in job.rows()]
    alike: dict[tuple[int, int, bool, Preset], list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        alike[shape_of(row)].append(place)

    velocities: dict[int, Float[Tensor, "image c"]] = {}
    for (image_tokens, text_tokens, *_), places in alike.items():
        at_once = max(1, tokens_per_call // (image_tokens + text_tokens))
        for start in range(0, len(places), at_once):
            chunk = places[start : start + at_once]
            answers = _call([rows[place] for place in chunk], transformer)
            velocities.update(zip(chunk, answers, strict=True))

    answered = iter(range(len(rows)))
    return [[velocities[next(answered)] for _ in job.rows()] for job in jobs]


def _call(rows: Sequence[Row], transformer: Transformer) -> Float[Tensor, "b image c"]:
    """One model call; the velocities come back to where the jobs' points lie."""
    weight = transformer.img_in.weight
    doing = f"denoising {len(rows)} x {len(rows[0].x)} image tokens"
    adapters, modulation = [row.loras for row in rows], modulation_cache(transformer).beside(rows)
    with explain_out_of_memory(doing), active_adapters(adapters), modulation:
        answers: Tensor = transformer(**batch(rows, weight.device, weight.dtype))
    return answers.to(rows[0].x.device)
