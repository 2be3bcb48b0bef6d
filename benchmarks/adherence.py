"""Does the picture show what the prompt asked for? Counted by the judge and by rulers.

    python benchmarks/adherence.py --model flux-mini
    python benchmarks/adherence.py --model flux-mini --sets single,pair --steps 12 --limit 20
    python benchmarks/adherence.py --sprites sprites.npz    # the true pictures: the rulers' ceiling

Every prompt is drawn once, from a seed fixed beforehand; no picture is left out or drawn again.
"""

import json
import math
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import machine
from cases import SETS, Case
from flux1.training.scenes import render
from flux1.training.sprites import Sprites
from judge import OPPOSITE, Judge, cut_out, half
from measures import background_colour, object_colour, things

if TYPE_CHECKING:
    from flux1 import FluxPipeline, ImageRequest

SIDE = 128
AT_ONCE = 8  # pictures that share a model call
Reading = dict[str, object]
Score = dict[str, bool]


def draw(pipe: "FluxPipeline", requests: Sequence["ImageRequest"]) -> Iterator[Image.Image]:
    """One picture for each request, in their order. Some share a model call: by another order of
    rounding, a pixel may then differ by 1 of 255 from the picture drawn alone."""
    from flux1 import Finished

    for start in range(0, len(requests), AT_ONCE):
        events = pipe.stream(requests[start : start + AT_ONCE])
        done = {event.image: event.picture for event in events if isinstance(event, Finished)}
        yield from (done[image] for image in sorted(done))


@dataclass(frozen=True)
class Drawn:
    """Pictures to come, one for each case, and how they are asked for."""

    by: str
    asked: dict
    pictures: Iterator[Image.Image]


def by_model(name: str, cases: Sequence[Case], steps: int | None, true_cfg: float | None) -> Drawn:
    """A model's pictures."""
    from flux1 import FluxPipeline, make_request

    pipe = FluxPipeline.from_pretrained(name)
    options = {"steps": steps, "true_cfg": true_cfg, "width": SIDE, "height": SIDE}
    requests = [make_request(pipe.variant, c.prompt, seed=c.seed, **options) for c in cases]
    common = {field: getattr(requests[0], field) for field in ("steps", "true_cfg", "solver")}
    return Drawn(pipe.variant.id, common | {"model_hash": pipe.model_hash}, draw(pipe, requests))


def truth(sprites: Path, cases: Sequence[Case]) -> Drawn:
    """The true pictures: what a perfect model would draw, so the best that can be counted."""
    drawings = Sprites.open(sprites)
    pictures = (
        Image.fromarray(render(case.scene, drawings, SIDE, np.random.default_rng(case.seed)))
        for case in cases
    )
    return Drawn("truth", {}, pictures)


# What is read off a picture, and which parts of it are right. One function for each set.


def _read_single(picture: Image.Image, case: Case, judge: Judge) -> tuple[Reading, Score]:
    (verdict,) = judge([picture])
    noun, background = case.scene.things[0].noun, background_colour(picture)
    return {**asdict(verdict), "background": background}, {
        "object": verdict.noun == noun,
        "object in the first five": noun in verdict.nouns,
        "background colour": background == case.scene.background,
    }


def _read_pair(picture: Image.Image, case: Case, judge: Judge) -> tuple[Reading, Score]:
    relation = case.scene.relation
    assert relation is not None  # a pair has one
    here, there = judge([half(picture, relation), half(picture, OPPOSITE[relation])])
    first, second = (thing.noun for thing in case.scene.things)
    return {relation: asdict(here), OPPOSITE[relation]: asdict(there)}, {
        "both objects in their places": (here.noun, there.noun) == (first, second),
        "both objects, any place": {here.noun, there.noun} == {first, second},
        "at least one object": bool({here.noun, there.noun} & {first, second}),
    }


def _read_colour(picture: Image.Image, case: Case, judge: Judge) -> tuple[Reading, Score]:
    (verdict,) = judge([picture])
    thing, colour = case.scene.things[0], object_colour(picture)
    object_right, colour_right = verdict.noun == thing.noun, colour == thing.colour
    return {**asdict(verdict), "colour": colour}, {
        "object": object_right,
        "object's colour": colour_right,
        "object and its colour": object_right and colour_right,
    }


def _read_count(picture: Image.Image, case: Case, judge: Judge) -> tuple[Reading, Score]:
    found = [verdict.noun for verdict in judge([cut_out(picture, box) for box in things(picture)])]
    count_right = len(found) == len(case.scene.things)
    named = found.count(case.scene.things[0].noun)
    return {"objects": found}, {
        "count": count_right,
        "most are the object": named > len(found) / 2,
        "count, and most are the object": count_right and named > len(found) / 2,
    }


def _read_style(picture: Image.Image, case: Case, judge: Judge) -> tuple[Reading, Score]:
    (verdict,) = judge([picture])
    object_right = verdict.noun == case.scene.things[0].noun
    style_right = verdict.style == case.scene.style
    return asdict(verdict), {
        "object": object_right,
        "style": style_right,
        "object and style": object_right and style_right,
    }


READERS: dict[str, Callable[[Image.Image, Case, Judge], tuple[Reading, Score]]] = {
    "single": _read_single,
    "pair": _read_pair,
    "colour": _read_colour,
    "count": _read_count,
    "style": _read_style,
}


@dataclass(frozen=True)
class Record:
    """One prompt: the truth, what was read off its picture, what of that is right."""

    case: Case
    reading: Reading
    right: Score


def interval(right: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    spread /= 1 + z * z / total
    return max(0.0, middle - spread), min(1.0, middle + spread)


# Which records a column counts.
GROUPS: dict[str, Callable[[Case], bool]] = {
    "all": lambda case: True,
    "plain words": lambda case: case.wording == "plain",
    "own words": lambda case: case.wording == "own",
    "held out": lambda case: case.held_out,
    "seen": lambda case: not case.held_out,
}


def summary(records: Sequence[Record]) -> list[dict]:
    """A row for each set and measure: right and total of each group that has any."""
    rows = []
    for name in dict.fromkeys(record.case.name for record in records):
        of_set = [record for record in records if record.case.name == name]
        for measure in of_set[0].right:
            row: dict = {"set": name, "measure": measure}
            for group, belongs in GROUPS.items():
                right = [record.right[measure] for record in of_set if belongs(record.case)]
                if right:
                    row[group] = {"right": sum(right), "total": len(right)}
            low, high = interval(**row["all"])
            rows.append({**row, "interval": [round(low, 4), round(high, 4)]})
    return rows


def show(rows: Sequence[dict], title: str) -> None:
    table = Table("set", "measure", "right", "95 % interval", *list(GROUPS)[1:], title=title)
    for row in rows:
        low, high = row["interval"]
        shares = [_percent(row.get(group)) for group in GROUPS]
        bounds = f"{100 * low:.0f} to {100 * high:.0f} %"
        table.add_row(row["set"], row["measure"], shares[0], bounds, *shares[1:])
    Console().print(table)


def _percent(part: dict[str, int] | None) -> str:
    if part is None:
        return ""
    return f"{100 * part['right'] / part['total']:.1f} % of {part['total']}"


def contact_sheet(cases: Sequence[Case], pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures in the order they were asked for, 8 a row, each over its prompt."""
    columns, side, words = 8, 128, 40
    rows = -(-len(cases) // columns)
    sheet = Image.new("RGB", (columns * side, rows * (side + words)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for i, (case, picture) in enumerate(zip(cases, pictures, strict=True)):
        left, top = i % columns * side, i // columns * (side + words)
        sheet.paste(picture.resize((side, side)), (left, top))
        text = "\n".join(textwrap.wrap(case.prompt, 23)[:3])
        pen.multiline_text((left + 3, top + side + 2), text, fill="black", font=font, spacing=1)
    return sheet


def evaluate(
    cases: Sequence[Case], pictures: Iterator[Image.Image], judge: Judge
) -> tuple[list[Record], list[Image.Image]]:
    """Read every picture as it comes."""
    records, kept = [], []
    with Progress() as progress:
        task = progress.add_task("drawing and reading", total=len(cases))
        for case, picture in zip(cases, pictures, strict=True):
            records.append(Record(case, *READERS[case.name](picture, case, judge)))
            kept.append(picture)
            progress.advance(task)
    return records, kept


def main(
    model: Annotated[str, typer.Option(help="A model's name or folder.")] = "flux-mini",
    sets: Annotated[str, typer.Option(help="Which sets, with commas between.")] = ",".join(SETS),
    steps: Annotated[int | None, typer.Option(help="Default: the model's own.")] = None,
    true_cfg: Annotated[float | None, typer.Option(help="Default: the model's own.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many of each set.")] = None,
    sprites: Annotated[Path | None, typer.Option(help="Read the true pictures instead.")] = None,
    label: Annotated[str, typer.Option(help="Added to the result file's name.")] = "",
) -> None:
    """Draw every prompt of the sets, read the pictures, print and write what is right."""
    cases = [case for name in sets.split(",") for case in SETS[name]()[:limit]]
    began = time.perf_counter()
    drawn = by_model(model, cases, steps, true_cfg) if sprites is None else truth(sprites, cases)
    judge = Judge.open()
    records, kept = evaluate(cases, drawn.pictures, judge)

    rows = summary(records)
    show(rows, f"{drawn.by}: share of pictures that show what was asked")
    path = machine.result_path(f"adherence-{drawn.by}", label)
    result = {
        "model": drawn.by,
        "asked": drawn.asked,
        "machine": machine.about(),
        "seconds": round(time.perf_counter() - began, 1),
        "judge": judge.trust,
        "summary": rows,
        "records": [asdict(record) for record in records],
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    singles = [pair for pair in zip(cases, kept, strict=True) if pair[0].name == "single"][:48]
    if singles:
        contact_sheet(*zip(*singles, strict=True)).save(path.with_suffix(".png"))


if __name__ == "__main__":
    typer.run(main)
