"""Crops for the judge to learn from: one object each, badly lit, blurred, turned, beside another.

They are the judge's own: other sizes, places, colours and seeds than flux-mini's training scenes.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from flux1.training.mini.scenes import recolour
from flux1.training.mini.sprites import Sprites
from flux1.training.mini.vocabulary import COLOUR_NAMES, COLOURS, NOUNS, STYLES

SIDE = 64
STYLE_NAMES = tuple(STYLES)


@dataclass(frozen=True)
class Deck:
    """Every drawing at the judge's own size, `drawings[style, noun]`."""

    drawings: UInt8[np.ndarray, "styles nouns 64 64 4"]

    @classmethod
    def of(cls, sprites: Sprites) -> "Deck":
        def shrink(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "64 64 4"]:
            return np.asarray(Image.fromarray(rgba).resize((SIDE, SIDE), Image.Resampling.BILINEAR))

        return cls(
            np.stack([[shrink(rgba) for rgba in sprites.rgba[style]] for style in STYLE_NAMES])
        )


def _dealt(
    deck: Deck, styles: np.ndarray, nouns: np.ndarray, rng: np.random.Generator
) -> Float[Tensor, "b 4 64 64"]:
    """The drawings asked for, a third of them tinted, in 0..1, colour multiplied by alpha."""
    rgba = deck.drawings[styles, nouns]
    for i in np.flatnonzero(rng.random(len(rgba)) < 0.33):
        rgba[i] = recolour(rgba[i], COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))])
    x = torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255
    return torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], dim=1)


def _placed(
    rgba: Float[Tensor, "b 4 h w"], scale: np.ndarray, shift: np.ndarray, angle: np.ndarray
) -> Float[Tensor, "b 4 h w"]:
    """Scaled, turned and moved; `shift` (b, 2) in half sides."""
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1)
    theta = np.concatenate([turn, -turn @ shift[..., None]], axis=-1)
    grid = F.affine_grid(torch.from_numpy(theta).float(), list(rgba.shape), align_corners=False)
    return F.grid_sample(rgba, grid, align_corners=False)


def _over(
    top: Float[Tensor, "b 4 h w"], below: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b 3 h w"]:
    return top[:, :3] + (1 - top[:, 3:]) * below


def _backgrounds(count: int, rng: np.random.Generator) -> Float[Tensor, "b 3 1 1"]:
    """Half of them near a named colour, half any colour at all."""
    named = np.array([colour.rgb for colour in COLOURS])[rng.integers(len(COLOURS), size=count)]
    near = (named + rng.normal(0, 8, named.shape)).clip(0, 255)
    anything = rng.uniform(0, 255, named.shape)
    rgb = np.where(rng.random((count, 1)) < 0.5, near, anything)
    return torch.from_numpy(rgb).float()[..., None, None] / 255


def _softened(x: Float[Tensor, "b 3 h w"], rng: np.random.Generator) -> Float[Tensor, "b 3 h w"]:
    """Each picture mixed with a blurred copy of itself."""
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = rng.uniform(0, 1, (len(x), 1, 1, 1)) * (rng.random((len(x), 1, 1, 1)) < 0.6)
    return torch.lerp(x, blurred, torch.from_numpy(share).float())


def _exposed(x: Float[Tensor, "b 3 h w"], rng: np.random.Generator) -> Float[Tensor, "b 3 h w"]:
    """Brightness, contrast and colour cast moved a little, and grain."""
    gain = torch.from_numpy(rng.uniform(0.88, 1.12, (len(x), 3, 1, 1))).float()
    lift = torch.from_numpy(rng.uniform(-0.08, 0.08, (len(x), 1, 1, 1))).float()
    noise = torch.from_numpy(rng.uniform(0, 0.05, (len(x), 1, 1, 1))).float()
    grain = torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
    return (x * gain + lift + noise * grain).clamp(0, 1)


def _through_jpeg(x: Float[Tensor, "3 h w"], quality: int) -> Float[Tensor, "3 h w"]:
    file = io.BytesIO()
    Image.fromarray((x.permute(1, 2, 0) * 255).byte().numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class Crops:
    """A batch: pixels in [-1, 1] and what they show."""

    pixels: Float[Tensor, "b 3 64 64"]
    nouns: Int[Tensor, " b"]
    styles: Int[Tensor, " b"]


def compose(deck: Deck, size: int, rng: np.random.Generator) -> Crops:
    """Fresh crops: one object each, and in a third of them the edge of a neighbour."""
    nouns = rng.integers(len(NOUNS), size=size)
    styles = (rng.random(size) < 0.4).astype(np.int64)
    drawn = _dealt(deck, styles, nouns, rng)
    scale = rng.uniform(0.55, 1.02, size)
    shift = rng.uniform(-1, 1, (size, 2)) * (0.10 + 0.4 * (1 - scale.clip(max=1)))[:, None]
    x = _over(_placed(drawn, scale, shift, rng.normal(0, 0.08, size)), _backgrounds(size, rng))

    beside = np.array([[1.0, 0], [-1.0, 0], [0, 1.0], [0, -1.0]])[rng.integers(4, size=size)]
    beside = beside * rng.uniform(1.7, 2.1, (size, 1)) + rng.uniform(-0.1, 0.1, (size, 2))
    neighbour = _placed(drawn.roll(1, dims=0), np.full(size, 0.85), beside, np.zeros(size))
    intrudes = torch.from_numpy(rng.random((size, 1, 1, 1)) < 0.33)
    x = _over(neighbour * intrudes, x)

    x = _exposed(_softened(x, rng), rng)
    for i in np.flatnonzero(rng.random(size) < 0.15):
        x[i] = _through_jpeg(x[i], quality=int(rng.integers(50, 95)))
    return Crops(2 * x - 1, torch.from_numpy(nouns), torch.from_numpy(styles))
