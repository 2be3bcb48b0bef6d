"""MkDocs hook: pages that lie outside of docs/ join the site, and every link finds its page there.

Links are written for readers of the repository. One that leads to a page or a picture is turned
to its place on the site. One that leads to source code, which the site lacks, becomes its path.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "benchmarks/*.md", "examples/*/*.md", "src/flux1/shipped/*/*.md")
FOUND = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]
OUTSIDE = [path.relative_to(ROOT).as_posix() for path in FOUND if path != ROOT / "README.md"]
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of docs/, and the dashboard's icon as the site's."""
    for path in OUTSIDE:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    icon = ROOT / "src" / "flux1" / "server" / "web" / "static" / "icon.svg"
    files.append(File.generated(config, "images/icon.svg", abs_src_path=str(icon)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the page's links to where things lie on the site."""
    here = PurePosixPath(page.file.src_uri)
    home = ROOT / here if page.file.src_uri in OUTSIDE else Path(config.docs_dir) / here

    def turned(link: re.Match[str]) -> str:
        picture, words, target, anchor = link.groups()
        path = Path(os.path.normpath(home.parent / target))
        inside = path.is_relative_to(config.docs_dir)
        place = path.relative_to(config.docs_dir if inside else ROOT).as_posix()
        if not inside and place not in OUTSIDE:
            return words if words == f"`{place}`" else f"{words} (`{place}`)"
        return f"{picture}[{words}]({os.path.relpath(place, here.parent)}{anchor or ''})"

    return LINK.sub(turned, markdown)
