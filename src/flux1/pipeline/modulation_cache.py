"""The modulation of the next evaluations, beside a transformer that keeps its layers stored."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from flux1.model.lora import active_adapters
from flux1.model.modulation_cache import modulated_by, modulation, modulation_is_stored
from flux1.model.transformer import Transformer
from flux1.pipeline.batch import modulation_inputs
from flux1.pipeline.job import Job, Row
from flux1.pipeline.memory import explain_out_of_memory

# Rows that are computed at once, over all jobs: of FLUX.1, 4.2 MB each in fp32.
ROWS_AHEAD = 64


class ModulationCache:
    """The numbers that modulate a transformer in the next evaluations of jobs, gone with the
    jobs."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._stored = modulation_is_stored(transformer)
        self._numbers: WeakValueDictionary[Hashable, Tensor] = WeakValueDictionary()
        self._ahead: WeakKeyDictionary[Job, list[Tensor]] = WeakKeyDictionary()

    @torch.no_grad()
    def fill(self, jobs: Sequence[Job]) -> None:
        """Compute some evaluations ahead for each job that lacks the present one. Nothing, where
        the layers are plain."""
        lacking = [job for job in jobs if self._stored and not self._holds(job.rows())]
        if not lacking:
            return
        evaluations = max(1, ROWS_AHEAD // sum(len(job.rows()) for job in lacking))
        ahead = {job: job.rows_ahead(evaluations) for job in lacking}
        wanted = {_key(row): row for rows in ahead.values() for row in rows}
        groups: dict[Hashable, list[Row]] = defaultdict(list)
        for row in wanted.values():
            groups[row.guidance is not None, row.preset].append(row)
        found: dict[Hashable, Tensor] = {}
        for rows in groups.values():
            found.update(zip(map(_key, rows), self._computed(rows), strict=True))
        self._numbers.update(found)
        for job, rows in ahead.items():
            self._ahead[job] = [found[_key(row)] for row in rows]

    @contextmanager
    def beside(self, rows: Sequence[Row]) -> Iterator[None]:
        """While this lasts, a call on these rows takes what was computed for them, if all was."""
        if not self._holds(rows):
            yield
            return
        with modulated_by(self._transformer, torch.stack([self._numbers[_key(r)] for r in rows])):
            yield

    def _holds(self, rows: Sequence[Row]) -> bool:
        return all(_key(row) in self._numbers for row in rows)

    def _computed(self, rows: Sequence[Row]) -> Float[Tensor, "rows all"]:
        weight = self._transformer.img_in.weight
        doing = f"computing the modulation of {len(rows)} evaluations"
        with explain_out_of_memory(doing), active_adapters([row.loras for row in rows]):
            inputs = modulation_inputs(rows, weight.device, weight.dtype)
            return modulation(self._transformer, **inputs)


def modulation_cache(transformer: Transformer) -> ModulationCache:
    """The cache beside a transformer, as LoRAs hang beside its layers: no part of the network."""
    found = transformer.__dict__.get("modulation_cache")
    if found is None:
        found = transformer.__dict__["modulation_cache"] = ModulationCache(transformer)
    return found


def _key(row: Row) -> Hashable:
    """All that the modulation depends on: rows of one key share it."""
    return row.t, row.guidance, id(row.conditioning), row.loras, row.preset
