"""Draw twelve pictures of a zorb, each with its caption: something to train a LoRA on.

    python examples/draw_zorb.py FOLDER

A zorb is a round violet creature with one eye, two green horns and three yellow feet. It was made
up for this, so no model has seen one.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

NAME, SIDE, LARGE = "zorb", 256, 512
BACKGROUNDS = {
    "blue": (50, 110, 225),
    "yellow": (250, 214, 50),
    "white": (250, 250, 250),
    "green": (52, 168, 83),
    "pink": (245, 150, 190),
    "gray": (150, 154, 160),
    "orange": (249, 135, 30),
}
COUNT = 12


def drawing() -> Image.Image:
    """The zorb, on nothing."""
    canvas = Image.new("RGBA", (LARGE, LARGE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(canvas)
    pen.polygon([(120, 190), (70, 20), (215, 130)], fill="#2ba84a")
    pen.polygon([(392, 190), (442, 20), (297, 130)], fill="#2ba84a")
    for left in (110, 211, 312):
        pen.ellipse([left, 410, left + 90, 500], fill="#ffd23f")
    pen.ellipse([60, 80, 452, 472], fill="#6b2fb3")
    pen.ellipse([146, 270, 366, 450], fill="#f58220")
    pen.ellipse([176, 120, 336, 280], fill="white")
    pen.ellipse([228, 165, 298, 235], fill="black")
    pen.ellipse([240, 178, 262, 200], fill="white")
    return canvas


def picture(background: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """The zorb somewhere near the middle, at some size; the background in a shade of its own."""
    shade = np.clip(np.array(background) + rng.uniform(-5, 5, 3), 0, 255)
    canvas = Image.new("RGB", (SIDE, SIDE), tuple(int(c) for c in shade))
    side = int(rng.integers(120, 201))
    room = (SIDE - side) // 2
    x, y = (int(room + rng.integers(-room // 2, room // 2 + 1)) for _ in range(2))
    zorb = drawing().resize((side, side), Image.Resampling.LANCZOS)
    canvas.paste(zorb, (x, y), zorb)
    return canvas


def write(folder: Path) -> None:
    """COUNT pictures in turn on each of the backgrounds, and a caption beside each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, colours = np.random.default_rng(0), list(BACKGROUNDS)
    for number in range(COUNT):
        colour = colours[number % len(colours)]
        picture(BACKGROUNDS[colour], rng).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(f"a {NAME} on a {colour} background\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
