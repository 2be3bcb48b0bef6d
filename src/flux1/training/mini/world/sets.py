"""The sets of drawings: where each comes from, in which style it is drawn, and its licence.

Versions are exact, because the shipped weights were made from these files. Everything here is read
from each package's own `info.json`; `notices` makes the table that travels with the weights.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class DrawingSet:
    """A set of SVG drawings in an npm package, as Iconify packs it (`icons.json`).

    `package` is None for the project's own drawings, the folder `own` beside this file. `inked`
    draws a dark line around every shape.
    """

    name: str
    package: str | None
    version: str
    style: str
    title: str
    author: str
    licence: str
    licence_link: str
    source: str
    inked: bool = False


_CC_BY_4 = ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/")
_NOTO = (
    "Google Inc", "Apache 2.0",
    "https://github.com/googlefonts/noto-emoji/blob/main/svg/LICENSE",
    "https://github.com/googlefonts/noto-emoji",
)  # fmt: skip
_OURS = (
    "flux1 drawings", "the authors of flux1", "Apache 2.0",
    "https://www.apache.org/licenses/LICENSE-2.0", "own",
)  # fmt: skip
_FLUENT = (
    "Microsoft Corporation", "MIT",
    "https://github.com/microsoft/fluentui-emoji/blob/main/LICENSE",
    "https://github.com/microsoft/fluentui-emoji",
)  # fmt: skip

SETS: dict[str, DrawingSet] = {
    row.name: row
    for row in (
        DrawingSet(
            "fluent", "@iconify-json/fluent-emoji", "1.2.7", "glossy 3D", "Fluent Emoji", *_FLUENT
        ),
        DrawingSet(
            "flat",
            "@iconify-json/fluent-emoji-flat",
            "1.2.6",
            "flat",
            "Fluent Emoji Flat",
            *_FLUENT,
        ),
        DrawingSet("noto", "@iconify-json/noto", "1.2.9", "cartoon", "Noto Emoji", *_NOTO),
        DrawingSet("noto1", "@iconify-json/noto-v1", "1.2.5", "cartoon", "Noto Emoji (v1)", *_NOTO),
        DrawingSet(
            "twemoji",
            "@iconify-json/twemoji",
            "1.2.5",
            "flat",
            "Twitter Emoji",
            "Twitter and contributors",
            *_CC_BY_4,
            "https://github.com/jdecked/twemoji",
        ),
        DrawingSet(
            "emojitwo",
            "@iconify-json/emojione",
            "1.2.3",
            "flat",
            "Emoji One (Colored), EmojiTwo",
            "Emoji One",
            *_CC_BY_4,
            "https://github.com/EmojiTwo/emojitwo",
        ),
        DrawingSet(
            "fx",
            "@iconify-json/fxemoji",
            "1.2.2",
            "cartoon",
            "Firefox OS Emoji",
            "Mozilla",
            "Apache 2.0",
            "https://mozilla.github.io/fxemoji/LICENSE.md",
            "https://github.com/mozilla/fxemoji",
        ),
        DrawingSet(
            "streamline",
            "@iconify-json/streamline-emojis",
            "1.2.4",
            "outlined",
            "Streamline Emojis",
            "Streamline",
            *_CC_BY_4,
            "https://github.com/webalys-hq/streamline-vectors",
        ),
        DrawingSet(
            "game",
            "@iconify-json/game-icons",
            "1.2.4",
            "silhouette",
            "Game Icons",
            "Lorc, Delapouite and the other authors of game-icons.net",
            "CC BY 3.0",
            "https://github.com/game-icons/icons/blob/master/license.txt",
            "https://github.com/game-icons/icons",
        ),
        DrawingSet(
            "park",
            "@iconify-json/icon-park",
            "1.2.4",
            "line icon",
            "IconPark",
            "ByteDance",
            "Apache 2.0",
            "https://github.com/bytedance/IconPark/blob/master/LICENSE",
            "https://github.com/bytedance/IconPark",
        ),
        DrawingSet("own", None, "1", "flat", *_OURS),
        DrawingSet("inked", None, "1", "outlined", *_OURS, inked=True),
    )
}


def notices() -> str:
    """The table of sets, authors and licences in Markdown, for the card beside the weights."""
    rows = [
        f"| [{s.title}]({s.source}) | {s.author} | [{s.licence}]({s.licence_link}) |"
        for s in SETS.values()
        if s.package
    ]
    head = ["| set | author | licence |", "|---|---|---|"]
    own = "A few drawings are the project's own."
    changed = "Modified: rasterised, recoloured, restyled and composed into scenes."
    return "\n".join([*head, *rows, "", own, changed]) + "\n"
