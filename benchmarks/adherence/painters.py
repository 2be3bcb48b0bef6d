"""Who draws the pictures: a model as it is asked, or the truth itself."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image

from adherence.cases import Case
from flux1 import Finished, FluxPipeline, ImageRequest, make_request
from flux1.errors import RequestError, nearest
from flux1.training.mini.scenes import render
from flux1.training.mini.sprites import Sprites
from measure.turns import take_turns

Size = tuple[int, int]  # width, height
TIMED_PROMPT, TIMED_ROUNDS = "a red fox on a blue background", 5


class Painter(Protocol):
    """Draws one picture for each case. It travels between processes, so it is small."""

    @property
    def label(self) -> str: ...

    def draw(self, cases: Sequence[Case]) -> Iterator[Image.Image]: ...


@cache
def load(source: str) -> FluxPipeline:
    """A model of this process, loaded once."""
    return FluxPipeline.from_pretrained(source)


@dataclass(frozen=True)
class Model:
    """A model and how it is asked; None is the model's own default."""

    label: str
    source: str  # name or folder
    size: Size
    steps: int | None = None
    guidance: float | None = None
    true_cfg: float | None = None
    solver: str | None = None
    _OPTIONS: ClassVar = {
        "label": str, "steps": int, "guidance": float, "true_cfg": float, "solver": str,
    }  # fmt: skip

    @classmethod
    def parse(cls, text: str, size: Size) -> "Model":
        """NAME_OR_FOLDER[:label=TEXT][:steps=N][:guidance=W][:true_cfg=W][:solver=NAME]."""
        source, *parts = text.split(":")
        options: dict = {"label": Path(source).name}
        for part in parts:
            name, _, value = part.partition("=")
            if name not in cls._OPTIONS:
                known = ", ".join(cls._OPTIONS)
                raise RequestError(
                    "model", f"{text}: {name!r} is not one of {known}{nearest(name, cls._OPTIONS)}"
                )
            try:
                options[name] = cls._OPTIONS[name](value)
            except ValueError:
                raise RequestError("model", f"{text}: {value!r} is no value of {name}") from None
        return cls(source=source, size=size, **options)

    def request(self, prompt: str, seed: int) -> ImageRequest:
        """The request for one picture. RequestError for an option that the model has not."""
        return make_request(
            load(self.source).variant,
            prompt,
            seed=seed,
            width=self.size[0],
            height=self.size[1],
            steps=self.steps,
            guidance=self.guidance,
            true_cfg=self.true_cfg,
            solver=self.solver,
        )

    def draw(self, cases: Sequence[Case]) -> Iterator[Image.Image]:
        """The cases share model calls: by another order of rounding, a pixel may then differ by 1
        of 255 from the picture drawn alone."""
        requests = [self.request(case.prompt, case.seed) for case in cases]
        events = load(self.source).stream(requests)
        done = {event.image: event.picture for event in events if isinstance(event, Finished)}
        return (done[image] for image in sorted(done))


def facts(model: Model) -> dict:
    """How it is asked, complete. `calls`: rows of the network that one picture takes, "2 x 28" with
    classifier-free guidance. RequestError for an option that the model has not."""
    asked = model.request(TIMED_PROMPT, 0)
    evaluations, rows = asked.evaluations, len(asked.conditions)
    return {
        "label": model.label,
        "source": model.source,
        "model_hash": load(model.source).origin.model_hash,
        "steps": asked.steps,
        "guidance": asked.guidance,
        "true_cfg": asked.true_cfg,
        "solver": asked.solver,
        "calls": f"{rows} x {evaluations}" if rows > 1 else str(evaluations),
    }


def seconds_a_picture(models: Sequence[Model]) -> dict[str, float]:
    """Median time of one picture drawn alone, after one that is not counted. The models take turns,
    so that a busy machine slows all of them."""
    sides = {
        model.label: partial(load(model.source).draw, model.request(TIMED_PROMPT, 0))
        for model in models
    }
    times = take_turns(sides, TIMED_ROUNDS, warm=1)
    return {label: statistics.median(taken.clock) for label, taken in times.items()}


@cache
def _sprites(path: Path) -> Sprites:
    return Sprites.open(path)


@dataclass(frozen=True)
class Truth:
    """The true pictures: what a perfect model would draw, so the best that can be counted."""

    sprites: Path
    size: Size
    label: str = "the true pictures"

    def draw(self, cases: Sequence[Case]) -> Iterator[Image.Image]:
        drawings = _sprites(self.sprites)
        for case in cases:
            rng = np.random.default_rng(case.seed)
            yield Image.fromarray(render(case.scene, drawings, *self.size, rng))
