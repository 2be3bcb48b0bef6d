"""Requests to picture files: one round of the networks at a time, with bars for a person."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flux1.request import ImageRequest

if TYPE_CHECKING:
    from flux1.pipeline.pipeline import FluxPipeline
    from flux1.safety.provenance import Recipe

TOGETHER = 16  # pictures that are begun together; of one request all are, however many


@dataclass(frozen=True)
class Target:
    """One picture: its file, the request that asks for it, and its seed."""

    file: Path
    request: ImageRequest
    seed: int


def seeds_of(requests: Sequence[ImageRequest]) -> list[tuple[ImageRequest, int]]:
    """Every picture of the requests, in order: the request and the seed."""
    return [(one, one.seed + k) for one in requests for k in range(one.num_images)]


def check_storable(pipeline: "FluxPipeline", target: Target) -> None:
    """Encode an empty picture: a format that cannot hold the size or the recipe fails now."""
    from PIL import Image

    from flux1.safety.provenance import encode_picture, format_for

    blank = Image.new("RGB", target.request.finished_size)
    recipe = _recipe(pipeline, target.request, target.seed)
    encode_picture(blank, recipe, format_for(target.file))


def draw(pipeline: "FluxPipeline", targets: Sequence[Target], show: bool) -> float | None:
    """Draw and write every picture, with a bar that ticks for every step of each. The seconds of a
    step (of all pictures of the first round together, without the first step, before which prompts
    are encoded); None if there was one only."""
    from flux1.events import Finished
    from flux1.pipeline.progress import drawing
    from flux1.safety.provenance import encode_picture, format_for, write_picture

    moments: list[float] = []
    with drawing(sum(one.request.steps for one in targets), show) as tick:
        for first, requests in _rounds(targets):
            for event in pipeline.stream(requests):
                target = targets[first + event.image]
                if isinstance(event, Finished):
                    recipe = _recipe(pipeline, target.request, target.seed)
                    format = format_for(target.file)
                    write_picture(target.file, encode_picture(event.picture, recipe, format))
                    continue
                tick()
                if first + event.image == 0:
                    moments.append(time.perf_counter())
    steps = len(moments) - 1
    return (moments[-1] - moments[0]) / steps if steps else None


def _rounds(targets: Sequence[Target]) -> Iterator[tuple[int, list[ImageRequest]]]:
    """Requests that are drawn together, and the number of their first picture."""
    first, size, together = 0, 0, list[ImageRequest]()
    while first + size < len(targets):
        request = targets[first + size].request
        if together and size + request.num_images > TOGETHER:
            yield first, together
            first, size, together = first + size, 0, []
        together.append(request)
        size += request.num_images
    yield first, together


def _recipe(pipeline: "FluxPipeline", request: ImageRequest, seed: int) -> "Recipe":
    from flux1.safety.provenance import LoraRecord, recipe_of

    loaded = [(pipeline.loaded_lora(use.name), use.scale) for use in request.loras]
    records = tuple(LoraRecord(at.path.name, scale, at.sha256[:12]) for at, scale in loaded)
    return recipe_of(request, seed, pipeline.origin, records)
