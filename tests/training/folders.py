"""Folders of captioned pictures: noise, so that no two are alike."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture_folder(folder: Path, count: int = 6, sizes=((64, 64), (96, 64))) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        width, height = sizes[number % len(sizes)]
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a thing, number {number}")
    return folder
