"""The events that come back while pictures are made. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flux1.errors import Flux1Error

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Step:
    """`image` has done `step` of `steps`; `preview()` decodes the clean estimate at this point.

    The preview costs one run of the autoencoder, so it is made only when it is asked for.
    """

    image: int
    step: int
    steps: int
    t: float
    preview: "Callable[[], Image]"


@dataclass(frozen=True)
class Finished:
    """A picture, with the seed that draws it alone."""

    image: int
    seed: int
    picture: "Image"


@dataclass(frozen=True)
class Queued:
    """An order waits: `ahead` pictures go before it, it should begin in `seconds`."""

    ahead: int
    seconds: float


@dataclass(frozen=True)
class Started:
    """The first step of the order's first picture is about to be made."""


@dataclass(frozen=True)
class Preview:
    """An estimate of `image` as it would be if it were finished now; `index` counts its previews
    from 0."""

    image: int
    index: int
    step: int
    steps: int
    picture: "Image"


@dataclass(frozen=True)
class Failed:
    """`image` will not come. The order's other pictures are not touched."""

    image: int
    error: Flux1Error


OrderEvent = Queued | Started | Preview | Finished | Failed


@dataclass(frozen=True)
class EngineStatus:
    """The engine at one moment. `seconds` is when the last of the waiting work should be done;
    `last_batch` is how many rows shared the last model call, which took `last_call_s`;
    `memory_free` is in bytes of the models' device (the fullest), None if it cannot be known."""

    waiting: int
    running: int
    seconds: float
    last_batch: int
    last_call_s: float
    pictures: int
    failures: int
    model_calls: int
    alive: bool
    memory_free: int | None = None
