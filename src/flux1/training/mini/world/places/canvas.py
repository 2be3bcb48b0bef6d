"""A canvas of float32 colours, and the few strokes from which all places are painted.

Positions are fractions of the picture's width and height; sizes are fractions of its shorter
side, so that circles stay round in every shape. Edges are smooth over one pixel.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

from flux1.training.mini.world.places.colours import Rgb

Mask = Float[np.ndarray, "h w"]
Rows = Float[np.ndarray, "h 1 3"]
Number = float | int  # types are checked while the tests run, and there an int is no float
Box = tuple[Number, Number, Number, Number]  # left, top, right, bottom
Line = Float[np.ndarray, "w"]


class Canvas:
    """Pixels that strokes change in place."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.unit = min(width, height)
        self.pixels = np.zeros((height, width, 3), np.float32)
        self.x = ((np.arange(width) + 0.5) / width).astype(np.float32)
        self.y = ((np.arange(height) + 0.5) / height).astype(np.float32)

    @property
    def wide(self) -> float:
        """Width in shorter sides: the x of a line's bumps, so that they keep their size."""
        return self.width / self.unit

    @property
    def tall(self) -> float:
        """Height in shorter sides."""
        return self.height / self.unit

    def rows(self, colours: Sequence[Rgb], top: Number = 0.0, bottom: Number = 1.0) -> Rows:
        """Vertical gradient through the colours, evenly spread from `top` to `bottom`."""
        places = np.linspace(top, bottom, len(colours))
        channels = [np.interp(self.y, places, [c[i] for c in colours]) for i in range(3)]
        return np.stack(channels, axis=-1).astype(np.float32)[:, None]

    def fill(self, mask: Mask, colour: np.ndarray, opacity: Number = 1.0) -> None:
        """Blend a colour (3), rows of colours (h 1 3) or a picture (h w 3) in where the mask is."""
        lines = np.flatnonzero(mask.any(axis=1))
        if len(lines):
            part = slice(lines[0], lines[-1] + 1)
            colour = colour[part] if colour.ndim == 3 else colour
            _blend(self.pixels[part], mask[part] * np.float32(opacity), colour)

    def below(self, line: Line) -> Mask:
        """Mask of what lies below a line of heights, one for each column."""
        rise = np.gradient(line) * self.height
        steep = np.sqrt(1 + rise * rise)
        depth = (self.y[:, None] - line[None]) * (self.height / steep)[None]
        return np.clip(depth + 0.5, 0, 1).astype(np.float32)

    def box(
        self, x0: Number, y0: Number, x1: Number, y1: Number, colour: Rgb, opacity: Number = 1.0
    ) -> None:
        """Upright rectangle, its edges on whole pixels, so that they stay crisp."""
        columns = slice(max(0, round(x0 * self.width)), max(0, round(x1 * self.width)))
        lines = slice(max(0, round(y0 * self.height)), max(0, round(y1 * self.height)))
        part = self.pixels[lines, columns]
        part += (colour - part) * np.float32(opacity)

    def ellipse(
        self,
        x: Number,
        y: Number,
        rx: Number,
        ry: Number,
        colour: Rgb,
        opacity: Number = 1.0,
        soft: Number = 1.0,
    ) -> None:
        """Upright ellipse; `soft` is the width of its edge in pixels."""
        rx, ry = max(rx * self.unit, 0.5), max(ry * self.unit, 0.5)
        part, dx, dy = self._around(x, y, rx + soft, ry + soft)
        away = (np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2) - 1) * min(rx, ry)
        _blend(part, np.clip(0.5 - away / soft, 0, 1) * np.float32(opacity), colour)

    def disc(
        self,
        x: Number,
        y: Number,
        r: Number,
        colour: Rgb,
        opacity: Number = 1.0,
        soft: Number = 1.0,
    ) -> None:
        """Circle; `soft` is the width of its edge in pixels."""
        self.ellipse(x, y, r, r, colour, opacity, soft)

    def glow(
        self,
        x: Number,
        y: Number,
        rx: Number,
        colour: Rgb,
        strength: Number,
        ry: Number | None = None,
    ) -> None:
        """Light that falls off around a point, added as light is (a screen, never above 1)."""
        rx, ry = rx * self.unit, (ry or rx) * self.unit
        part, dx, dy = self._around(x, y, 2.4 * rx, 2.4 * ry)
        fall = np.exp(-((dx / rx) ** 2)) * np.exp(-((dy / ry) ** 2))
        part += (fall * np.float32(strength))[..., None] * colour * (1 - part)

    def bloom(self, light: Float[np.ndarray, "h w 3"], radius: Number, strength: Number) -> None:
        """Let lamps shine into the air around them: a blurred copy of `light`, added."""
        small = Image.fromarray((np.clip(light, 0, 1) * 255).astype(np.uint8)).reduce(4)
        blurred = small.filter(ImageFilter.GaussianBlur(radius * self.unit / 4))
        wide = blurred.resize((self.width, self.height), Image.Resampling.BILINEAR)
        added = np.asarray(wide, np.float32) * np.float32(strength / 255)
        self.pixels += added * (1 - self.pixels)

    def _around(
        self, x: Number, y: Number, rx: Number, ry: Number
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels around a point, and their distances from it: across (1 w), down (h 1)."""
        cx, cy = x * self.width, y * self.height
        columns = slice(max(0, int(cx - rx)), max(0, int(cx + rx) + 2))
        lines = slice(max(0, int(cy - ry)), max(0, int(cy + ry) + 2))
        part = self.pixels[lines, columns]
        dx = np.arange(part.shape[1], dtype=np.float32) + np.float32(columns.start + 0.5 - cx)
        dy = np.arange(part.shape[0], dtype=np.float32) + np.float32(lines.start + 0.5 - cy)
        return part, dx[None], dy[:, None]

    def pen(self) -> "Pen":
        """A pen for a mask of polygons, ellipses and lines."""
        return Pen(self)


class Pen:
    """Draws shapes of one colour into one mask, three times as fine, then shrunk."""

    FINE = 3

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self.wide, self.tall = canvas.wide, canvas.tall
        self._image = Image.new("L", (canvas.width * self.FINE, canvas.height * self.FINE))
        self._draw = ImageDraw.Draw(self._image)

    def _at(self, x: Number, y: Number, dx: Number, dy: Number) -> tuple[Number, Number]:
        c, fine = self._canvas, self.FINE
        return (x * c.width + dx * c.unit) * fine, (y * c.height + dy * c.unit) * fine

    def polygon(
        self, x: Number, y: Number, corners: Sequence[tuple[Number, Number]], ink: Number = 1.0
    ) -> None:
        """Polygon around a point, its corners told in shorter sides from there."""
        self._draw.polygon([self._at(x, y, dx, dy) for dx, dy in corners], fill=round(255 * ink))

    def ellipse(self, x: Number, y: Number, rx: Number, ry: Number, ink: Number = 1.0) -> None:
        """Upright ellipse."""
        self._draw.ellipse(
            (self._at(x, y, -rx, -ry), self._at(x, y, rx, ry)), fill=round(255 * ink)
        )

    def line(
        self, points: Sequence[tuple[Number, Number]], thickness: Number, ink: Number = 1.0
    ) -> None:
        """Line through points of the picture, so many shorter sides thick."""
        wide = max(2, round(thickness * self._canvas.unit * self.FINE))
        at = [self._at(x, y, 0, 0) for x, y in points]
        self._draw.line(at, fill=round(255 * ink), width=wide, joint="curve")

    def mask(self) -> Mask:
        """Return the drawing's pixels, 0..1."""
        return np.asarray(self._image.reduce(self.FINE), np.float32) / np.float32(255)


def _blend(part: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    part += mask[..., None] * (colour - part)
