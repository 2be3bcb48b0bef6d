"""What a run leaves: tables, figures, what was read off every picture, and pictures to look at."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from adherence.cases import Case, fingerprint
from adherence.run import Drawn
from adherence.scores import Overall, Tally
from adherence.sheets import grid, side_by_side
from measure.results import Table


def percent(score: Tally | Overall | None, digits: int = 0) -> str:
    """'86 %', or nothing where nothing was counted."""
    return "" if score is None else f"{100 * score.share:.{digits}f} %"


@dataclass(frozen=True)
class Report:
    """A finished run. `found`: every painter's pictures of the cases, under its label."""

    cases: Sequence[Case]
    found: dict[str, list[Drawn]]
    tables: tuple[Table, ...]
    figures: dict

    def write(self, path: Path, about: dict) -> None:
        """PATH.json (figures), .jsonl (a line for each case), .md (tables) and .png (pictures)."""
        figures = {**about, "cases": fingerprint(self.cases), **self.figures}
        path.write_text(json.dumps(figures, indent=1) + "\n")
        path.with_suffix(".jsonl").write_text(
            "".join(self._line(i) for i in range(len(self.cases)))
        )
        path.with_suffix(".md").write_text("\n".join(table.markdown() for table in self.tables))
        self._pictures().save(path.with_suffix(".png"))

    def _line(self, i: int) -> str:
        reads = {label: asdict(drawn[i].reading) for label, drawn in self.found.items()}
        return json.dumps({**asdict(self.cases[i]), "read": reads}) + "\n"

    def _pictures(self) -> Image.Image:
        """Of one painter the first 48 of the first set, of several the first two of every set."""
        names = [case.name for case in self.cases]
        if len(self.found) == 1:
            (drawn,) = self.found.values()
            return grid(drawn[: min(48, names.count(names[0]))])
        first = [i for i, name in enumerate(names) if name not in names[: max(0, i - 1)]]
        return side_by_side({label: [of[i] for i in first] for label, of in self.found.items()})
