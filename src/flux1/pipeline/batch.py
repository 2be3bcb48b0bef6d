"""Rows of many jobs to the tensors of one model call."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flux1.model.patches import text_ids
from flux1.pipeline.job import Row
from flux1.pipeline.like import dtype_of, told_positions, told_time
from flux1.presets import Preset


class Told(TypedDict):
    """The arguments of `Transformer.modulation`."""

    t: Float[Tensor, " b"]
    pooled: Float[Tensor, "b p"]
    guidance: Float[Tensor, " b"] | None


class Inputs(Told):
    """The arguments of `Transformer.forward`."""

    img: Float[Tensor, "b image c"]
    img_ids: Int[Tensor, "b image 3"]
    txt: Float[Tensor, "b text d"]
    txt_ids: Int[Tensor, "b text 3"]
    modulation: Float[Tensor, "b all"] | None


def shape_of(row: Row) -> tuple[int, int, bool, Preset]:
    """Rows of equal shape, rounded alike, may share a call."""
    return len(row.x), len(row.conditioning.txt), row.guidance is not None, row.like


def batch(rows: Sequence[Row], device: torch.device, dtype: torch.dtype) -> Inputs:
    """Stack rows of one shape; ids keep their integer type. The modulation is given where all rows
    have it."""
    conditions, like = [row.conditioning for row in rows], rows[0].like
    modulations = [row.modulation for row in rows if row.modulation is not None]
    return Inputs(
        img=torch.stack([row.x for row in rows]).to(device, dtype),
        img_ids=torch.stack([told_positions(row.ids, like, dtype) for row in rows]).to(device),
        txt=torch.stack([c.txt for c in conditions]).to(device, dtype),
        txt_ids=text_ids(len(conditions[0].txt)).expand(len(rows), -1, -1).to(device),
        modulation=torch.stack(modulations) if len(modulations) == len(rows) else None,
        **told(rows, device, dtype),
    )


def told(rows: Sequence[Row], device: torch.device, dtype: torch.dtype) -> Told:
    """What the network is told beside points and text: t and guidance rounded as the rows' preset
    says."""
    scales = [row.guidance for row in rows if row.guidance is not None]
    like = rows[0].like
    times = torch.tensor([row.t for row in rows], dtype=torch.float32, device=device)
    guidance = torch.tensor(scales, dtype=torch.float32, device=device) if scales else None
    return Told(
        t=told_time(times, like, dtype),
        pooled=torch.stack([row.conditioning.pooled for row in rows]).to(device, dtype),
        guidance=None if guidance is None else guidance.to(dtype_of(like.guidance, dtype)),
    )
