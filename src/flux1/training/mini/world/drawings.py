"""Every drawing of every noun: fetched from npm by name, rendered once, kept in one file."""

import io
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.progress import track

from flux1.errors import DataError
from flux1.training.mini.sprites import fetch_icons
from flux1.training.mini.world.nouns import Framing, all_nouns
from flux1.training.mini.world.sets import SETS, DrawingSet
from flux1.training.mini.world.styles import outline_tells

SIDE = 192  # pixels of a drawing's longer side
_INK = 8  # an alpha of at most this counts as empty


@dataclass(frozen=True)
class Drawings:
    """The drawings of all nouns, each trimmed to its ink, its longer side `SIDE` pixels.

    Drawing `i` is `rgba[i]` (height, width, red green blue alpha), belongs to `noun[i]`, is named
    `name[i]` (`set:icon`), drawn in `style[i]` and shows as much of the noun as `framing[i]` says.
    """

    rgba: Sequence[UInt8[np.ndarray, "_ _ 4"]]
    noun: tuple[str, ...]
    name: tuple[str, ...]
    style: tuple[str, ...]
    framing: tuple[Framing, ...]

    @classmethod
    def open(cls, path: Path) -> "Drawings":
        """Read the file that `prepare_drawings` wrote, and check that it fits today's nouns."""
        if not path.exists():
            raise DataError(f"no drawings at {path}: a recipe makes them (`flux1 train flux-mini`)")
        wanted = _catalogue()
        with np.load(path) as archive:
            if tuple(archive["catalogue"]) != tuple(map("\t".join, wanted)):
                raise DataError(
                    f"{path} was made for another list of nouns and drawings; remove it and run "
                    "the recipe again"
                )
            pixels, shapes = archive["pixels"], archive["shapes"]
        ends = np.cumsum(shapes[:, 0].astype(np.int64) * shapes[:, 1] * 4)
        rgba = [
            piece.reshape(height, width, 4)
            for piece, (height, width) in zip(np.split(pixels, ends[:-1]), shapes, strict=True)
        ]
        nouns, names, framings = zip(*wanted, strict=True)
        return cls(rgba, nouns, names, tuple(style_of(name) for name in names), framings)

    @cached_property
    def outline_tells(self) -> tuple[bool, ...]:
        """One truth value for each drawing: its silhouette shows what it is
        (`styles.outline_tells`)."""
        return tuple(map(outline_tells, self.rgba))

    @cached_property
    def _by_noun(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, noun in enumerate(self.noun):
            found.setdefault(noun, []).append(index)
        return found

    def named(self, name: str) -> UInt8[np.ndarray, "h w 4"]:
        """The pixels of a drawing by its name, `set:icon`."""
        return self.rgba[self._by_name[name]]

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.name)}

    def of(self, noun: str, style: str | None = None, framing: str | None = None) -> list[int]:
        """The indices of a noun's drawings, all or those of one style or framing; may be empty.

        Raises DataError for an unknown noun.
        """
        if noun not in self._by_noun:
            raise DataError(f"no drawing of {noun!r}: it is no noun of the world")
        return [
            index
            for index in self._by_noun[noun]
            if style in (None, self.style[index]) and framing in (None, self.framing[index])
        ]


def style_of(name: str) -> str:
    """The style that a drawing named `set:icon` is drawn in."""
    return SETS[name.partition(":")[0]].style


def _catalogue() -> list[tuple[str, str, Framing]]:
    """Noun, drawing and framing of every drawing, in the order of the file."""
    rows = all_nouns().values()
    return [(noun.name, name, framing) for noun in rows for name, framing in noun.drawings]


def draw(icons: dict, name: str, side: int = SIDE) -> UInt8[np.ndarray, "h w 4"]:
    """Render one icon of an Iconify set with resvg, trimmed to its ink, `side` pixels long."""
    from resvg_py import svg_to_bytes

    svg = _svg(icons, name, 2 * side)
    drawn = Image.open(io.BytesIO(bytes(svg_to_bytes(svg_string=svg)))).convert("RGBA")
    ink = drawn.getchannel("A").point(lambda alpha: 255 if alpha > _INK else 0).getbbox()
    if ink is None:
        raise DataError(f"the icon {name!r} of the set {icons.get('prefix')} is empty")
    cropped = drawn.crop(ink)
    scale = side / max(cropped.size)
    width, height = (max(1, round(length * scale)) for length in cropped.size)
    return np.asarray(cropped.resize((width, height), Image.Resampling.LANCZOS))


def _svg(icons: dict, name: str, side: int) -> str:
    icon = icons["icons"].get(name)
    if icon is None:
        raise DataError(f"the set {icons.get('prefix')} has no icon {name!r}")
    defaults = {"left": 0, "top": 0, "width": 16, "height": 16}
    box = " ".join(str(icon.get(key, icons.get(key, usual))) for key, usual in defaults.items())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{side}" height="{side}">{_in_black(icon["body"])}</svg>'
    )


def _icons(row: DrawingSet) -> dict:
    """The drawings of a set in Iconify's form."""
    return fetch_icons(row.package, row.version) if row.package else own_icons(row.inked)


def own_icons(inked: bool = False) -> dict:
    """The project's own drawings in Iconify's form; `inked` draws a dark line around each shape."""
    icons: dict[str, dict] = {}
    folder = resources.files("flux1.training.mini.world") / "own"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        drawn = tomllib.loads(file.read_text("utf-8"))
        shared = {key: drawn[key] for key in ("left", "top", "width", "height")}
        icons |= {name: shared | icon for name, icon in drawn["icons"].items()}
    if inked:
        for icon in icons.values():
            icon["body"] = f'<g stroke="#33333a" stroke-width="1.8">{icon["body"]}</g>'
    return {"prefix": "own", "icons": icons}


def _in_black(body: str) -> str:
    """Turn a two-coloured icon of IconPark into black lines on white; others stay as they are."""
    if "#2F88FF" not in body and "#43CCF8" not in body:
        return body.replace("currentColor", "#1c1c20")
    body = body.replace('stroke="#fff"', 'stroke="#000"')
    body = re.sub('fill="#fff"(?! stroke="#000")', 'fill="#000"', body)
    return re.sub("#2F88FF|#43CCF8", "#fff", body)


def prepare_drawings(path: Path) -> None:
    """Fetch every set, render every drawing, and write them to `path`."""
    save_drawings(path, _render({name for _, name, _ in _catalogue()}))


def save_drawings(path: Path, pictures: Mapping[str, UInt8[np.ndarray, "_ _ 4"]]) -> None:
    """Write the drawings of all nouns, found by their names, in one file that appears whole."""
    catalogue = _catalogue()
    chosen = [pictures[name] for _, name, _ in catalogue]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(
        partial,
        catalogue=np.array(["\t".join(row) for row in catalogue]),
        shapes=np.array([picture.shape[:2] for picture in chosen], np.int32),
        pixels=np.concatenate([picture.ravel() for picture in chosen]),
    )
    partial.replace(path)


def _render(names: set[str]) -> dict[str, UInt8[np.ndarray, "_ _ 4"]]:
    pictures = {}
    for key, row in SETS.items():
        mine = sorted(name for name in names if name.startswith(f"{key}:"))
        icons = _icons(row) if mine else {}
        for name in track(mine, f"drawings: {row.title}"):
            pictures[name] = draw(icons, name.partition(":")[2])
    return pictures
