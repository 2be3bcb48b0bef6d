"""The judge of benchmarks/adherence: train it, and tell how far to trust it.

    python benchmarks/judge.py train --sprites sprites.npz
    python benchmarks/judge.py check --sprites sprites.npz

`check` prints the share of true pictures, freshly composed of every set's kind, that the judge and
the rulers read right, and writes it into the judge's file: it stands beside every score.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from adherence.cases import SETS, cases_of
from adherence.compositions import Deck
from adherence.judge import WEIGHTS, Judge, Trust, fit
from adherence.painters import Truth
from adherence.reading import read
from adherence.scores import rows
from flux1.training.mini.sprites import Sprites
from flux1.variants import FLUX_MINI
from measure.results import Table

CHECK_SEEDS = (71_002, 71_003, 71_004)
SIDE = FLUX_MINI.defaults.width
FILE = Annotated[Path, typer.Option(help="The judge's own file.")]
LIMIT = Annotated[int | None, typer.Option(help="Only the first so many of each set.")]
SPRITES = Annotated[Path, typer.Option(help="sprites.npz of a run of `flux1 train flux-mini`.")]


def trust(judge: Judge, sprites: Path, side: int, limit: int | None) -> Trust:
    """What is read right of each set's true pictures; other truths than are asked of models."""
    cases = [case for seed in CHECK_SEEDS for name in SETS for case in cases_of(name, limit, seed)]
    pictures = Truth(sprites, (side, side)).draw(cases)
    told = track(zip(cases, pictures, strict=True), "reading true pictures", total=len(cases))
    reads = [(case, read(picture, case, judge)) for case, picture in told]
    found: Trust = {name: {} for name in SETS}
    for row in rows(reads):
        found[row.name][row.measure] = (row.groups["all"].right, row.groups["all"].total)
    return found


def _report(found: Trust) -> None:
    rows = [
        (name, measure, f"{100 * right / total:.1f} % of {total}")
        for name, measures in found.items()
        for measure, (right, total) in measures.items()
    ]
    Table("how far to trust the judge", ("set", "measure", "read right"), tuple(rows)).show()


app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def train(
    sprites: SPRITES, steps: int = 1800, batch: int = 128, limit: LIMIT = None, file: FILE = WEIGHTS
) -> None:
    """Train it, measure it as it is saved (half precision), and write both to its file."""
    judge = fit(Deck.of(Sprites.open(sprites)), steps, batch)
    found = trust(judge, sprites, SIDE, limit)
    judge.save(found, file)
    _report(found)


@app.command()
def check(sprites: SPRITES, side: int = SIDE, limit: LIMIT = None, file: FILE = WEIGHTS) -> None:
    """Read true pictures with the saved judge; of all at `SIDE`, its file keeps what is found."""
    judge = Judge.open(file)
    found = trust(judge, sprites, side, limit)
    if side == SIDE and limit is None:
        judge.save(found, file)
    _report(found)


if __name__ == "__main__":
    app()
