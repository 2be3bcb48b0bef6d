"""What is read off a picture without a network: background, foreground, colours, how many things.

Colours are compared in CIE L*a*b* (D65), where equal distances look about equally different, so
"nearest named colour" is nearest by eye and not by RGB value.
"""

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from flux1.training.mini.vocabulary import COLOURS

Box = tuple[int, int, int, int]  # left, top, right, bottom
BORDER = 3 / 128  # width of the border that counts as background, as a fraction of the side
CONTRAST = 14.0  # a pixel this far (in Lab) from the background belongs to an object
SMALLEST = 0.35  # a patch smaller than this share of the largest is a detail, not a thing

# Nouns whose drawing, in its own colours, is one patch on every named background, and narrow enough
# that copies never touch: counting was right in 44 random scenes of each (2 to 5 copies, 11
# backgrounds) and with all copies moved towards each other as far as training scenes move them.
_COMPACT = """
anchor avocado backpack balloon bear bell boxing-glove cactus candle chicken crystal-ball cup
cupcake dolphin donut door dress egg flamingo flashlight flower hourglass ice-cream jellyfish
kangaroo lamp lipstick megaphone mirror onion orange owl phone pineapple pizza puzzle ring rose
shield shower snowman sock strawberry suitcase sunflower tiger tulip volcano watch watermelon
"""
COMPACT = tuple(name.replace("-", " ") for name in _COMPACT.split())

_SRGB_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_D65 = np.array([0.9505, 1.0, 1.089])


def to_lab(rgb: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """sRGB in 0..255 to CIE L*a*b*."""
    unit = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _SRGB_TO_XYZ.T / _D65
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_NAMED = to_lab(np.array([colour.rgb for colour in COLOURS]))


def nearest_colour(rgb: Float[np.ndarray, "3"]) -> str:
    """The named colour of the vocabulary that is nearest by eye."""
    return COLOURS[int(np.argmin(np.linalg.norm(_NAMED - to_lab(rgb), axis=-1)))].name


def background_rgb(picture: Image.Image) -> Float[np.ndarray, "3"]:
    """Median colour of the picture's border."""
    pixels = np.asarray(picture.convert("RGB"))
    edge = max(1, round(BORDER * min(pixels.shape[:2])))
    border = np.ones(pixels.shape[:2], dtype=bool)
    border[edge:-edge, edge:-edge] = False
    return np.median(pixels[border], axis=0)


def background_colour(picture: Image.Image) -> str:
    """Name of the colour behind the objects."""
    return nearest_colour(background_rgb(picture))


def foreground(picture: Image.Image) -> Bool[np.ndarray, "h w"]:
    """The pixels that differ clearly from the background."""
    lab = to_lab(np.asarray(picture.convert("RGB")))
    return np.linalg.norm(lab - to_lab(background_rgb(picture)), axis=-1) > CONTRAST


def object_colour(picture: Image.Image, box: Box | None = None) -> str | None:
    """Name of the median colour of the object's pixels, of those in `box` if there is one; None
    where nothing stands out from the whole picture's background."""
    left, top, right, bottom = box or (0, 0, *picture.size)
    inside = np.s_[max(0, top) : bottom, max(0, left) : right]
    pixels = np.asarray(picture.convert("RGB"))[inside][foreground(picture)[inside]]
    return nearest_colour(np.median(pixels, axis=0)) if len(pixels) else None


def _patch_from(mask: Bool[np.ndarray, "h w"], start: tuple[int, int]) -> list[tuple[int, int]]:
    """The 4-connected pixels around `start`; they are taken out of `mask`."""
    mask[start] = False
    patch, frontier = [], [start]
    while frontier:
        y, x = frontier.pop()
        patch.append((y, x))
        for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= place[0] < mask.shape[0] and 0 <= place[1] < mask.shape[1]
            if inside and mask[place]:
                mask[place] = False
                frontier.append(place)
    return patch


def things(picture: Image.Image) -> list[Box]:
    """Box of each connected patch of foreground that is big enough.

    Two objects that touch count as one, and an object in two separate halves as two: ask this of
    compact objects on a contrasting background.
    """
    left = foreground(picture)
    patches = [_patch_from(left, tuple(place)) for place in np.argwhere(left) if left[tuple(place)]]
    largest = max((len(patch) for patch in patches), default=0)
    boxes = []
    for patch in patches:
        if len(patch) >= SMALLEST * largest:
            rows, columns = np.array(patch).T
            left_top = int(columns.min()), int(rows.min())
            boxes.append((*left_top, int(columns.max()) + 1, int(rows.max()) + 1))
    return boxes
