"""Forms of the towers of the future, each a few strokes of a pen."""

import numpy as np

from flux1.training.mini.world.places.canvas import Pen


def _needle(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """A slim spire on a broader foot."""
    side = [(half, 0), (0.5 * half, -0.6 * size)]
    pen.polygon(x, y, [*side, (0, -size), *[(-a, b) for a, b in side[::-1]]])


def _blade(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """A slab with one curved edge."""
    curve = [(half * (1 - 1.7 * t**2.2), -size * t) for t in np.linspace(0, 1, 9)]
    pen.polygon(x, y, [(-half, 0), (-0.8 * half, -size), *curve[::-1]])


def _stack(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """Blocks that narrow in steps, an antenna on top."""
    for share, up in ((1, 0.5), (0.72, 0.75), (0.42, 0.9)):
        _block(pen, x, y, (-share * half, share * half), (0.0, up * size))
    pen.polygon(x, y, [(-0.007, 0), (0.007, 0), (0.004, -1.1 * size), (-0.004, -1.1 * size)])


def _saucer(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """A shaft that carries a disc."""
    shaft = [(-0.6 * half, 0), (-0.28 * half, -size), (0.28 * half, -size), (0.6 * half, 0)]
    pen.polygon(x, y, shaft)
    pen.ellipse(x, y - 0.8 * size / pen.tall, 1.25 * half, 0.36 * half)
    pen.polygon(x, y, [(-0.007, 0), (0.007, 0), (0, -1.15 * size)])


def _capsule(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """A tower with a round head."""
    _block(pen, x, y, (-half, half), (0.0, size))
    pen.ellipse(x, y - size / pen.tall, half, 1.2 * half)


def _twins(pen: Pen, x: float, y: float, half: float, size: float) -> None:
    """Two slim towers, joined by a bridge."""
    for side, up in ((-1, 1.0), (1, 0.84)):
        outer, inner = side * half, side * 0.25 * half
        pen.polygon(
            x, y, [(outer, 0), (outer, -up * size), (inner, -(up - 0.06) * size), (inner, 0)]
        )
    _block(pen, x, y, (-half, half), (0.55 * size, 0.62 * size))


def _block(
    pen: Pen, x: float, y: float, across: tuple[float, float], up: tuple[float, float]
) -> None:
    (left, right), (low, high) = across, up
    pen.polygon(x, y, [(left, -low), (left, -high), (right, -high), (right, -low)])


FORMS = (_needle, _blade, _stack, _saucer, _capsule, _twins)
