"""Rows of many jobs to the tensors of one model call."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor

from flux1.model.patches import text_ids
from flux1.pipeline.job import Row


class Inputs(TypedDict):
    """The arguments of `Transformer.forward`."""

    img: Float[Tensor, "b image c"]
    img_ids: Int[Tensor, "b image 3"]
    txt: Float[Tensor, "b text d"]
    txt_ids: Int[Tensor, "b text 3"]
    t: Float[Tensor, " b"]
    pooled: Float[Tensor, "b p"]
    guidance: Float[Tensor, " b"] | None


def shape_of(row: Row) -> tuple[int, int, bool]:
    """Rows of equal shape may share a call."""
    return len(row.x), len(row.conditioning.txt), row.guidance is not None


def batch(rows: Sequence[Row], device: torch.device, dtype: torch.dtype) -> Inputs:
    """Stack rows of one shape; ids keep their integer type, t and guidance stay exact in fp32
    until the network casts them."""
    scales = [row.guidance for row in rows if row.guidance is not None]
    conditions = [row.conditioning for row in rows]
    return Inputs(
        img=torch.stack([row.x for row in rows]).to(device, dtype),
        img_ids=torch.stack([row.ids for row in rows]).to(device),
        txt=torch.stack([c.txt for c in conditions]).to(device, dtype),
        txt_ids=text_ids(len(conditions[0].txt)).expand(len(rows), -1, -1).to(device),
        t=torch.tensor([row.t for row in rows], dtype=torch.float32, device=device),
        pooled=torch.stack([c.pooled for c in conditions]).to(device, dtype),
        guidance=torch.tensor(scales, dtype=torch.float32, device=device) if scales else None,
    )
