#!/usr/bin/env python3
"""Draws docs/images/architecture.svg: from a request to a picture. Run it after changing it."""

from pathlib import Path

WIDTH, HEIGHT = 940, 330
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "architecture.svg"

# name, the file that makes it, left edge, top edge
THINGS = (
    ("ImageRequest", "request.py", 20, 40),
    ("Conditioning", "pipeline/encode.py", 260, 40),
    ("Job", "pipeline/job.py", 500, 40),
    ("picture", "pipeline/decode.py", 740, 40),
    ("solver", "flow/solvers.py", 380, 200),
    ("transformer", "model/transformer.py", 620, 200),
)
BOX = (180, 56)

# words on an arrow, from, to
ARROWS = (
    ("encode", (200, 68), (260, 68)),
    ("start", (440, 68), (500, 68)),
    ("decode", (680, 68), (740, 68)),
    ("yields x, t", (500, 200), (560, 96)),
    ("takes v", (530, 96), (440, 200)),
    ("rows", (640, 96), (690, 200)),
    ("velocities", (730, 200), (670, 96)),
)
# where the words of an arrow stand: beside its middle, by so much
SHIFTS = {"yields x, t": 56, "takes v": -34, "rows": -30, "velocities": 44}

STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1c2430; text-anchor: middle }
  .file { font: 12px ui-monospace, monospace; fill: #4c5a6b }
  .word { font-style: italic; fill: #0b7270 }
  rect { fill: #f3f7f7; stroke: #0b7270; stroke-width: 1.5 }
  line { stroke: #4c5a6b; stroke-width: 1.5; marker-end: url(#tip) }
  .call { fill: none; stroke-dasharray: 6 4 }
"""


def thing(name: str, file: str, left: int, top: int) -> str:
    """A box with a name and the file below it."""
    width, height = BOX
    middle = left + width // 2
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="8"/>'
        f'<text x="{middle}" y="{top + 24}">{name}</text>'
        f'<text class="file" x="{middle}" y="{top + 43}">{file}</text>'
    )


def arrow(words: str, start: tuple[int, int], end: tuple[int, int]) -> str:
    """A line with a tip, its words above it or beside it."""
    (x1, y1), (x2, y2) = start, end
    level = y1 == y2
    x = (x1 + x2) // 2 + SHIFTS.get(words, 0)
    y = y1 - 10 if level else (y1 + y2) // 2
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
        f'<text class="word" x="{x}" y="{y}">{words}</text>'
    )


def picture() -> str:
    """The whole drawing."""
    drawn = [thing(*one) for one in THINGS] + [arrow(*one) for one in ARROWS]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            "<title>A request becomes a conditioning, a job and a picture</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#4c5a6b"/></marker>',
            "</defs>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" style="fill:#fff;stroke:none"/>',
            '<rect class="call" x="345" y="180" width="475" height="96" rx="10"/>',
            '<text class="word" x="582" y="300">advance(jobs): one model call moves many jobs by '
            "one evaluation each (pipeline/advance.py)</text>",
            *drawn,
            "</svg>\n",
        )
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
