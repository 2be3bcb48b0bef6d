"""Rows of many jobs to the tensors of one model call."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flux1.model.patches import text_ids
from flux1.pipeline.job import Row
from flux1.pipeline.rounding import dtype_of, rounded_positions, rounded_time
from flux1.presets import Preset


class ModulationInputs(TypedDict):
    """The inputs that the modulation of a call depends on."""

    t: Float[Tensor, " b"]
    pooled: Float[Tensor, "b p"]
    guidance: Float[Tensor, " b"] | None


class Inputs(ModulationInputs):
    """The arguments of `Transformer.forward`."""

    img: Float[Tensor, "b image c"]
    img_ids: Int[Tensor, "b image 3"]
    txt: Float[Tensor, "b text d"]
    txt_ids: Int[Tensor, "b text 3"]


def shape_of(row: Row) -> tuple[int, int, bool, Preset]:
    """Image tokens, text tokens, whether there is a guidance scale, and the preset: rows of which
    all this is equal may share a call."""
    return len(row.x), len(row.conditioning.txt), row.guidance is not None, row.preset


def batch(rows: Sequence[Row], device: torch.device, dtype: torch.dtype) -> Inputs:
    """The inputs of one call, from rows of one shape. Positions keep their integer type."""
    conditions, preset = [row.conditioning for row in rows], rows[0].preset
    ids = [rounded_positions(row.ids, preset, dtype) for row in rows]
    return Inputs(
        img=torch.stack([row.x for row in rows]).to(device, dtype),
        img_ids=torch.stack(ids).to(device),
        txt=torch.stack([c.txt for c in conditions]).to(device, dtype),
        txt_ids=text_ids(len(conditions[0].txt)).expand(len(rows), -1, -1).to(device),
        **modulation_inputs(rows, device, dtype),
    )


def modulation_inputs(
    rows: Sequence[Row], device: torch.device, dtype: torch.dtype
) -> ModulationInputs:
    """Time, pooled text and guidance of rows of one shape, rounded as their preset says."""
    scales = [row.guidance for row in rows if row.guidance is not None]
    preset = rows[0].preset
    times = torch.tensor([row.t for row in rows], dtype=torch.float32, device=device)
    guidance = torch.tensor(scales, dtype=torch.float32, device=device) if scales else None
    return ModulationInputs(
        t=rounded_time(times, preset, dtype),
        pooled=torch.stack([row.conditioning.pooled for row in rows]).to(device, dtype),
        guidance=None if guidance is None else guidance.to(dtype_of(preset.guidance, dtype)),
    )
