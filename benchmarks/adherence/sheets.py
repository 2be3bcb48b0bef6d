"""Pictures to look at: in the order they were asked for, first ones, none picked."""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from adherence.run import Drawn

SIDE, WORDS = 128, 40  # of a picture on a sheet, and the height of the words under it
COLUMNS = 8


def _cell(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    width: int,
    lines: int,
    scale: float = 1,
) -> None:
    words = "\n".join(textwrap.wrap(text, width)[:lines])
    font = ImageFont.load_default(10 * scale)
    pen.multiline_text(at, words, fill="black", font=font, spacing=scale)


def grid(drawn: Sequence[Drawn]) -> Image.Image:
    """Eight in a row, each in its own size over its prompt."""
    wide, high = drawn[0].picture.size
    scale, rows = wide / SIDE, -(-len(drawn) // COLUMNS)
    row = high + round(scale * WORDS)
    sheet = Image.new("RGB", (COLUMNS * wide, rows * row), "white")
    pen = ImageDraw.Draw(sheet)
    for i, one in enumerate(drawn):
        left, top = i % COLUMNS * wide, i // COLUMNS * row
        sheet.paste(one.picture, (left, top))
        _cell(pen, (left + 3, top + high + 2), one.case.prompt, 23, 3, scale)
    return sheet


def side_by_side(found: dict[str, list[Drawn]]) -> Image.Image:
    """A row for each prompt, a column for each model."""
    prompts = next(iter(found.values()))
    sheet = Image.new("RGB", (SIDE * (1 + len(found)), WORDS + SIDE * len(prompts)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, one in enumerate(prompts):
        _cell(pen, (3, WORDS + SIDE * row + 8), one.case.prompt, 21, 8)
    for column, (label, drawn) in enumerate(found.items(), 1):
        _cell(pen, (SIDE * column + 3, 4), label, 21, 2)
        for row, one in enumerate(drawn):
            place = (SIDE * column, WORDS + SIDE * row)
            sheet.paste(one.picture.resize((SIDE, SIDE)), place)
    return sheet
