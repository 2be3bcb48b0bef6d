"""Modulation beforehand: where the layers that compute it are stored, they are read once for many
evaluations, not once for each. A quarter of FLUX.1's weights are theirs.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from flux1.model.lora import taking
from flux1.model.transformer import Transformer
from flux1.pipeline.batch import told
from flux1.pipeline.job import Job, Row
from flux1.pipeline.memory import told_out_of_memory

# Rows that are computed at once, over all jobs: of FLUX.1, 4.2 MB each in fp32.
ROWS_AHEAD = 64


@torch.no_grad()
def modulate(jobs: Sequence[Job], transformer: Transformer) -> None:
    """Give each job the modulation of its next evaluations, if it lacks that of the present one."""
    if not transformer.stores_modulation:
        return
    lacking = [job for job in jobs if any(row.modulation is None for row in job.rows())]
    if not lacking:
        return
    evaluations = max(1, ROWS_AHEAD // sum(len(job.rows()) for job in lacking))
    ahead = {job: job.rows_ahead(evaluations) for job in lacking}
    wanted = {_key(row): row for rows in ahead.values() for row in rows}
    groups: dict[Hashable, list[Row]] = defaultdict(list)
    for row in wanted.values():
        groups[row.guidance is not None, row.like].append(row)
    found: dict[Hashable, Float[Tensor, " all"]] = {}
    for rows in groups.values():
        found.update(zip(map(_key, rows), _modulations(rows, transformer), strict=True))
    for job, rows in ahead.items():
        job.modulate([found[_key(row)] for row in rows])


def _modulations(rows: Sequence[Row], transformer: Transformer) -> Float[Tensor, "rows all"]:
    weight = transformer.img_in.weight
    doing = f"computing the modulation of {len(rows)} evaluations"
    with told_out_of_memory(doing), taking([row.loras for row in rows]):
        return transformer.modulation(**told(rows, weight.device, weight.dtype))


def _key(row: Row) -> Hashable:
    """What the modulation depends on: rows of one key share it."""
    return row.t, row.guidance, id(row.conditioning), row.loras, row.like
