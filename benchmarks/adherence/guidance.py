"""How near a guidance-distilled student is to its teacher: told w, beside true guidance w."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product, repeat

from jaxtyping import Float
from torch import Tensor

from adherence.cases import Case
from adherence.climb import of, plain
from adherence.painters import Model, facts, load
from adherence.reports import Report, percent
from adherence.run import evaluate
from adherence.scores import overall, shares
from flux1.errors import RequestError
from flux1.flow.guidance import classifier_free
from flux1.pipeline.advance import evaluate as velocities_of
from measure.results import Table

PATHS = 16  # pictures whose points are compared
NOTE = "Velocity error: relative mean square, at every point that the first model passes on its way"


@dataclass(frozen=True)
class Distance:
    """`error`: mean |student's v - teacher's|^2 over mean |teacher's v|^2, of all times; `at`: the
    same at each time of the teacher's sampling, t = 1 first."""

    error: float
    at: dict[float, float]


def velocity_distance(teacher: Model, student: Model, cases: Sequence[Case]) -> Distance:
    """Compare the velocities at every point that the teacher passes on its way to the pictures.

    RequestError where the two models' tokens differ in shape.
    """
    asked = [teacher.request(case.prompt, case.seed) for case in cases]
    told = [student.request(case.prompt, case.seed) for case in cases]
    ahead = [load(teacher.source).start(request, request.seed) for request in asked]
    beside = [load(student.source).start(request, request.seed) for request in told]
    if ahead[0].x.shape != beside[0].x.shape:
        shapes = f"{tuple(ahead[0].x.shape)} and {tuple(beside[0].x.shape)}"
        raise RequestError("model", f"{teacher.label} and {student.label}: tokens of {shapes}")
    wrong: dict[float, float] = {}
    whole: dict[float, float] = {}
    while not ahead[0].done:
        t = ahead[0].t
        for leader, follower in zip(ahead, beside, strict=True):
            follower.x, follower.t = leader.x, leader.t
        answers = velocities_of(ahead, load(teacher.source).transformer)
        theirs = [_guided(v, r.true_cfg) for v, r in zip(answers, asked, strict=True)]
        guesses = velocities_of(beside, load(student.source).transformer)
        ours = [_guided(v, r.true_cfg) for v, r in zip(guesses, told, strict=True)]
        pairs = list(zip(theirs, ours, strict=True))
        wrong[t] = sum((a - b).square().sum().item() for a, b in pairs)
        whole[t] = sum(a.square().sum().item() for a, _ in pairs)
        for job, rows in zip(ahead, answers, strict=True):
            job.receive(rows)
    at = {round(t, 4): wrong[t] / whole[t] for t in whole}
    return Distance(sum(wrong.values()) / sum(whole.values()), at)


def _guided(rows: list[Float[Tensor, "image c"]], scale: float) -> Float[Tensor, "image c"]:
    """One row is taken as it is, two are joined by classifier-free guidance."""
    widened = [row.float() for row in rows]
    return widened[0] if len(widened) == 1 else classifier_free(scale).combine(widened)


def sweep(
    models: Sequence[Model],
    scales: Sequence[float],
    cases: Sequence[Case],
    each: Callable[..., Iterator],
) -> Report:
    """Score every student told w, and the first model with true guidance w, for each of `scales`.

    RequestError without a student, or for one that is not told a scale.
    """
    teacher, *students = models
    if not students:
        raise RequestError("model", "guidances need a teacher and then its students")
    leaders = {w: replace(teacher, label=f"{teacher.label} {w:g}", true_cfg=w) for w in scales}
    told = {
        (student.label, w): replace(student, label=f"{student.label} {w:g}", guidance=w)
        for student, w in product(students, scales)
    }
    for one in (*leaders.values(), *told.values()):
        facts(one)  # asks for a picture, so that what cannot be asked is known before the work
    paths = cases[:: max(1, len(cases) // PATHS)][:PATHS]
    pairs = [(leaders[w], student) for (_, w), student in told.items()]
    distances = list(each(velocity_distance, *zip(*pairs, strict=True), repeat(paths)))
    found = evaluate([*leaders.values(), *told.values()], cases, each)
    scores = {
        label: overall(shares([(one.case, one.reading) for one in drawn]))
        for label, drawn in found.items()
    }
    lines, points = [], []
    for ((name, w), student), distance in zip(told.items(), distances, strict=True):
        theirs, ours = scores[leaders[w].label], scores[student.label]
        kept, error = of(ours, theirs), f"{distance.error:.4f}"
        lines.append((f"{w:g}", percent(theirs, 1), name, percent(ours, 1), kept, error))
        points.append(
            {
                "student": name,
                "guidance": w,
                "teacher_overall": plain(theirs),
                "overall": plain(ours),
                "velocity_error": asdict(distance),
            }
        )
    columns = (
        "guidance",
        f"{teacher.label}, true guidance",
        "told",
        "overall",
        f"of {teacher.label}'s",
        "velocity error",
    )
    title = f"Embedded guidance beside {teacher.label}'s own, {len(cases)} prompts."
    figures = {"models": [facts(one) for one in models], "points": points}
    note = f"{NOTE} to {len(paths)} pictures."
    return Report(cases, found, (Table(title, columns, tuple(lines), note),), figures)
