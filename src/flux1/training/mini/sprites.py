"""Drawings for training: fetched from npm by name, rendered once, kept in one small file."""

import io
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from flux1.errors import DataError
from flux1.training.mini.vocabulary import ICONS, NOUNS

# style -> npm package with the drawings (exact versions: the shipped weights were made from these).
PACKAGES = {
    "glossy": ("@iconify-json/fluent-emoji", "1.2.7"),
    "flat": ("@iconify-json/fluent-emoji-flat", "1.2.6"),
}
SPRITE_SIZE = 192


@dataclass(frozen=True)
class Sprites:
    """`rgba[style][i]` is the drawing of `NOUNS[i]`, tightly cropped, on a square canvas."""

    rgba: dict[str, UInt8[np.ndarray, "nouns size size 4"]]

    @classmethod
    def open(cls, path: Path) -> "Sprites":
        if not path.exists():
            raise DataError(f"no sprites at {path}: a recipe makes them (`flux1 train flux-mini`)")
        with np.load(path) as archive:
            if tuple(archive["nouns"]) != NOUNS:
                raise DataError(
                    f"{path} was made for another noun list; remove it and run the recipe again"
                )
            return cls({style: archive[style] for style in PACKAGES})


def fetch_icons(package: str, version: str) -> dict:
    """The Iconify JSON of an npm package; needs the `npm` command."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                ["npm", "pack", "--silent", f"{package}@{version}"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            )
        except FileNotFoundError:
            raise DataError(
                "the drawings come from npm: install Node.js (the `npm` command)"
            ) from None
        except subprocess.CalledProcessError as failure:
            raise DataError(
                f"npm could not fetch {package}@{version}: {failure.stderr.strip()}"
            ) from None
        with tarfile.open(Path(folder) / done.stdout.strip().splitlines()[-1]) as archive:
            member = archive.extractfile("package/icons.json")
            if member is None:
                raise DataError(f"{package}@{version} has no icons.json")
            return json.load(member)


def render_icon(icons: dict, name: str, size: int) -> Image.Image:
    """Draw one icon with resvg, crop to its ink, centre it on a transparent square."""
    from resvg_py import svg_to_bytes

    icon = icons["icons"].get(name)
    if icon is None:
        raise DataError(f"the set {icons.get('prefix')} has no icon {name!r}")
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{2 * size}" height="{2 * size}">{icon["body"]}</svg>'
    )
    drawn = Image.open(io.BytesIO(bytes(svg_to_bytes(svg_string=svg)))).convert("RGBA")
    ink = drawn.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    cropped = drawn.crop(ink)
    scale = size / max(cropped.size)
    fitted = cropped.resize(
        (max(1, round(cropped.width * scale)), max(1, round(cropped.height * scale))),
        Image.Resampling.LANCZOS,
    )
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    return canvas


def prepare_sprites(path: Path, size: int = SPRITE_SIZE) -> None:
    """Fetch every package, render every noun, write one .npz beside, then rename."""
    arrays: dict[str, np.ndarray] = {"nouns": np.array(NOUNS)}
    for style, (package, version) in PACKAGES.items():
        icons = fetch_icons(package, version)
        arrays[style] = np.stack([np.asarray(render_icon(icons, ICONS[n], size)) for n in NOUNS])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(path)
