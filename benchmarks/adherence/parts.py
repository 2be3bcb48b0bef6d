"""Where in a picture its objects are looked for: halves, and patches that differ from the rest."""

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from adherence.measures import Box, background_rgb, things

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
_CENTRES = {"left": (0.27, 0.5), "right": (0.73, 0.5), "above": (0.5, 0.27), "below": (0.5, 0.73)}


@dataclass(frozen=True)
class Part:
    """A box of a picture (left, top, right, bottom), and what the judge is shown of it."""

    box: Box
    crop: Image.Image


def half(picture: Image.Image, place: str) -> Part:
    """The square on the left, right, above or below whose side is half the picture's shorter one:
    where one of two objects stands."""
    width, height = picture.size
    side = min(width, height) // 2
    x, y = _CENTRES[place]
    left, top = round(x * width - side / 2), round(y * height - side / 2)
    box = (left, top, left + side, top + side)
    return Part(box, picture.crop(box))


def patches(picture: Image.Image) -> list[Part]:
    """Each thing in the middle of a square of the background's colour, a little larger."""
    return [Part(box, _cut_out(picture, box)) for box in things(picture)]


def _cut_out(picture: Image.Image, box: Box) -> Image.Image:
    patch = picture.crop(box)
    side = round(1.15 * max(patch.size))
    colour = tuple(int(c) for c in background_rgb(picture))
    square = Image.new("RGB", (side, side), colour)
    square.paste(patch, ((side - patch.width) // 2, (side - patch.height) // 2))
    return square


def couples(picture: Image.Image) -> Iterator[tuple[Part, Part]]:
    """Where two objects may stand: side by side, one above the other, or as the picture's only two
    patches, in whatever places.

    Halves find objects that touch, as those of training do in every other scene; patches find
    objects in places that no half shows whole, such as two corners (README.md has the shares).
    """
    yield half(picture, "left"), half(picture, "right")
    yield half(picture, "above"), half(picture, "below")
    found = patches(picture)
    if len(found) == 2:
        yield found[0], found[1]
