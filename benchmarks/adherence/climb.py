"""The ladder: models beside each other on the same prompts, compared with the first of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from adherence.cases import Case
from adherence.judge import Judge
from adherence.painters import Model, Painter, facts, seconds_a_picture
from adherence.reports import Report, percent
from adherence.run import evaluate
from adherence.scores import (
    CATEGORIES,
    PUBLISHED,
    PUBLISHED_OVERALL,
    Overall,
    Read,
    Tally,
    overall,
    rows,
    shares,
)
from measure.results import Table

NOTE = (
    "Overall: the mean of the six. FLUX.1 [dev]'s figures are those published for it on GenEval: "
    "photographs of another world, found by a detector; they cannot be compared directly."
)


def climb(
    models: Sequence[Model],
    truth: Sequence[Painter],
    cases: Sequence[Case],
    each: Callable[..., Iterator],
    hardware: str,
) -> Report:
    """Time the models one picture at a time, then draw and read all cases."""
    seconds = seconds_a_picture(models)
    found = evaluate([*models, *truth], cases, each)
    read = {label: [(one.case, one.reading) for one in drawn] for label, drawn in found.items()}
    tallies = {label: shares(reads) for label, reads in read.items()}
    trust = Judge.open().trust
    first = overall(tallies[models[0].label])

    ladder = []
    for one in models:
        mine, told = tallies[one.label], facts(one)
        kept = of(overall(mine), first)
        took = f"{seconds[one.label]:.2f}"
        ladder.append((one.label, str(told["steps"]), told["calls"], *_scores(mine), kept, took))
    trusted = {name: Tally(*measures["right"]) for name, measures in trust.items()}
    true = {one.label: tallies[one.label] for one in truth}
    for label, mine in {**true, "the judge, on other true pictures": trusted}.items():
        ladder.append((label, "", "", *_scores(mine), "", ""))
    published = [f"{100 * share:.0f} %" for share in (*PUBLISHED.values(), PUBLISHED_OVERALL)]
    ladder.append(("FLUX.1 [dev], as published", "", "", *published, "", ""))

    columns = (
        "model",
        "steps",
        "model calls",
        *(name.replace("_", " ") for name in CATEGORIES),
        "overall",
        f"of {models[0].label}'s",
        "s a picture",
    )
    width, height = models[0].size
    title = (
        f"Share of {width}x{height} pictures that show what was asked, {len(cases)} prompts. "
        f"Seconds: one picture alone, {hardware}."
    )
    figures = {
        "models": [
            {
                **facts(one),
                "seconds": round(seconds[one.label], 3),
                "overall": plain(overall(tallies[one.label])),
                "rows": [row.plain() for row in rows(read[one.label])],
            }
            for one in models
        ],
        "truth": [[row.plain() for row in rows(read[one.label])] for one in truth],
        "judge": trust,
    }
    tables = (Table(title, columns, tuple(ladder), NOTE), _apart(read))
    return Report(cases, found, tables, figures)


def plain(score: Overall | None) -> dict | None:
    return None if score is None else asdict(score)


def of(mine: Overall | None, first: Overall | None) -> str:
    """One overall score as a share of another."""
    if mine is None or first is None or first.share == 0:
        return ""
    return f"{100 * mine.share / first.share:.1f} %"


def _scores(tallies: dict[str, Tally]) -> tuple[str, ...]:
    """The six categories and the overall score."""
    six = (percent(tallies.get(name)) for name in CATEGORIES)
    return (*six, _overall(tallies))


def _overall(tallies: dict[str, Tally]) -> str:
    score = overall(tallies)
    return "" if score is None else f"{percent(score, 1)} ± {100 * score.error:.1f}"


def _apart(read: dict[str, list[Read]]) -> Table:
    """Plain words and others, held-out pairs and others; style and free words, which are not in the
    overall score."""
    lines = []
    for label, reads in read.items():
        groups = {group: shares(reads, group) for group in ("all", "held out", "seen")}
        objects = [row.groups["all"] for row in rows(reads) if row.measure == "objects"]
        counted = (
            groups["held out"].get("colours"),
            groups["seen"].get("colours"),
            groups["held out"].get("style"),
            groups["seen"].get("style"),
            objects[0] if objects else None,
            groups["all"].get("free"),
        )
        words = [_overall(shares(reads, group)) for group in ("plain words", "own words")]
        lines.append((label, *words, *map(percent, counted)))
    columns = (
        "model",
        "overall, plain words",
        "overall, words never trained on",
        "held-out colours",
        "other colours",
        "held-out styles",
        "other styles",
        "free words, objects",
        "free words, all that is said",
    )
    return Table("The same pictures, counted apart.", columns, tuple(lines))
