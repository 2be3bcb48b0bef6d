"""How well do models draw what is asked, beside each other: one run, one table.

    python benchmarks/ladder.py                                  # flux-mini alone
    python benchmarks/ladder.py --processes 2 \\
        --model runs/flux-mini/flux-mini-teacher \\
        --model flux-mini --model flux-mini-schnell:steps=4
    python benchmarks/ladder.py --model TEACHER --model flux-mini --guidances 1,2,3.5,5,7

Models are compared with the first one. Every prompt is drawn once by each, from a seed fixed
beforehand; no picture is left out or drawn again. Written: NAME.json (what was measured), .jsonl
(every prompt, and what was read off its pictures), .md (the tables), .png (pictures).

--guidances asks another question: students told w, beside their teacher (the first model) with true
guidance w, on the first 20 prompts of each category.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from adherence.cases import SETS, Case, cases_of
from adherence.climb import climb
from adherence.guidance import sweep
from adherence.painters import Model, Size, Truth, facts
from adherence.run import workers
from adherence.scores import CATEGORIES
from flux1.errors import Flux1Error, RequestError, nearest
from measure.machine import about
from measure.results import RESULTS, Label, Out, result_path

SWEPT = 20  # prompts of each category, where guidances are compared
MODEL = "NAME_OR_FOLDER[:label=TEXT][:steps=N][:guidance=W][:true_cfg=W][:solver=NAME], repeatable."


def main(
    model: Annotated[list[str] | None, typer.Option(help=MODEL)] = None,
    sets: Annotated[str | None, typer.Option(help="Some sets only, with commas between.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many of each set.")] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the pictures.")] = "256x256",
    processes: Annotated[int, typer.Option(min=1, help="So many share the drawing.")] = 1,
    guidances: Annotated[str | None, typer.Option(help="Scales, for example 1,2,3.5,5,7.")] = None,
    sprites: Annotated[Path | None, typer.Option(help="sprites.npz: read the truth too.")] = None,
    out: Out = RESULTS,
    label: Label = "",
) -> None:
    """Draw every prompt with every model, read the pictures, print and write what is right."""
    try:
        models = _models(model or ["flux-mini"], _size(size))
        told = about()
        hardware = told["accelerator"] or f"{told['processor']}, threads: {told['threads']}"
        with workers(processes) as each:
            if guidances is None:
                cases = _cases(sets.split(",") if sets else list(SETS), limit)
                truth = [] if sprites is None else [Truth(sprites, _size(size))]
                report = climb(models, truth, cases, each, f"{hardware}, {told['date'][:10]}")
            else:
                cases = _cases(sets.split(",") if sets else CATEGORIES, limit or SWEPT)
                report = sweep(models, _scales(guidances), cases, each)
    except Flux1Error as error:
        raise SystemExit(str(error)) from None
    for table in report.tables:
        table.show()
    path = result_path("ladder" if guidances is None else "guidance", label, out)
    report.write(path, {"machine": told, "size": size, "processes": processes})
    print(f"written: {path} and, beside it, .jsonl, .md and .png")


def _size(text: str) -> Size:
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise RequestError("size", f"{text!r} is not WIDTHxHEIGHT, for example 256x256")
    width, height = text.split("x")
    return int(width), int(height)


def _models(given: Sequence[str], size: Size) -> list[Model]:
    """Parsed and loaded; each can be asked for a picture and has a label of its own."""
    models = [Model.parse(text, size) for text in given]
    labels = [one.label for one in models]
    for one in models:
        if labels.count(one.label) > 1:
            raise RequestError("model", f"two are called {one.label!r}; add :label=NAME to one")
        facts(one)
    return models


def _scales(text: str) -> list[float]:
    try:
        return [float(scale) for scale in text.split(",")]
    except ValueError:
        raise RequestError("guidances", f"{text!r} are not numbers, for example 1,3.5") from None


def _cases(names: Sequence[str], limit: int | None) -> list[Case]:
    for name in names:
        if name not in SETS:
            known = ", ".join(SETS)
            raise RequestError("sets", f"{name!r} is not one of {known}{nearest(name, SETS)}")
    return [case for name in names for case in cases_of(name, limit)]


if __name__ == "__main__":
    typer.run(main)
