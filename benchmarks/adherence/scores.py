"""How much is right: shares, their errors, and GenEval's overall score."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from adherence.cases import SETS, Case
from adherence.reading import Reading

# GenEval's six tasks; the overall score is the mean of their shares. `style` and `free` are apart.
CATEGORIES = (
    "single_object", "two_objects", "counting", "colours", "position", "colour_attribution",
)  # fmt: skip

# As published for FLUX.1 [dev] on GenEval.
PUBLISHED = dict(zip(CATEGORIES, (0.98, 0.81, 0.74, 0.79, 0.22, 0.45), strict=True))
PUBLISHED_OVERALL = 0.66

Read = tuple[Case, Reading]


@dataclass(frozen=True)
class Tally:
    """So many right of so many."""

    right: int
    total: int

    @classmethod
    def of(cls, answers: Iterable[bool]) -> "Tally":
        given = list(answers)
        return cls(sum(given), len(given))

    @property
    def share(self) -> float:
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        z, share, total = 1.96, self.share, self.total
        middle = (share + z * z / (2 * total)) / (1 + z * z / total)
        spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
        spread /= 1 + z * z / total
        return max(0.0, middle - spread), min(1.0, middle + spread)


# Which cases a column counts.
GROUPS: dict[str, Callable[[Case], bool]] = {
    "all": lambda case: True,
    "plain words": lambda case: case.wording == "plain",
    "own words": lambda case: case.wording == "own",
    "held out": lambda case: case.held_out,
    "seen": lambda case: not case.held_out,
}


@dataclass(frozen=True)
class Row:
    """A measure of a set ("right", or a part of it), counted in each group that has any case."""

    name: str
    measure: str
    groups: dict[str, Tally]

    def plain(self) -> dict:
        """For a file: right, total and interval of each group."""
        counted = {
            group: {**asdict(tally), "interval": [round(end, 4) for end in tally.interval]}
            for group, tally in self.groups.items()
        }
        return {"set": self.name, "measure": self.measure, **counted}


def rows(reads: Sequence[Read]) -> list[Row]:
    """Every set and measure, in the sets' order."""
    found = []
    for name in SETS:
        of_set = [(case, reading) for case, reading in reads if case.name == name]
        measures = list(of_set[0][1].parts) if of_set else []
        for measure in ["right", *measures] if of_set else []:
            groups = {
                group: Tally.of(
                    reading.right if measure == "right" else reading.parts[measure]
                    for case, reading in of_set
                    if belongs(case)
                )
                for group, belongs in GROUPS.items()
            }
            found.append(Row(name, measure, {k: t for k, t in groups.items() if t.total}))
    return found


def shares(reads: Sequence[Read], group: str = "all") -> dict[str, Tally]:
    """What is right in each set that the group has cases of."""
    return {
        row.name: row.groups[group]
        for row in rows(reads)
        if row.measure == "right" and group in row.groups
    }


@dataclass(frozen=True)
class Overall:
    """The mean of the six categories' shares, and its standard error's 1.96-fold."""

    share: float
    error: float


def overall(tallies: dict[str, Tally]) -> Overall | None:
    """None unless all six categories were asked. Categories weigh the same, whatever their size."""
    if not set(CATEGORIES) <= set(tallies):
        return None
    six = [tallies[name] for name in CATEGORIES]
    variance = sum(t.share * (1 - t.share) / t.total for t in six) / len(six) ** 2
    return Overall(sum(t.share for t in six) / len(six), 1.96 * math.sqrt(variance))
