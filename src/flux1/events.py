"""What comes back while pictures are made. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
