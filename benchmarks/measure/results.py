"""What a benchmark leaves: figures in a file beside the machine and the date, tables, lines."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Shown

RESULTS = Path(__file__).parents[1] / "results"
Label = Annotated[str, typer.Option(help="Added to the result file's name.")]
Out = Annotated[Path, typer.Option(help="Folder of the result files.")]


def result_path(name: str, label: str = "", folder: Path = RESULTS) -> Path:
    """NAME-DATE[-LABEL].json in a folder, which is made; the day's later run replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [name, datetime.now(UTC).date().isoformat(), label]
    return folder / f"{'-'.join(part for part in parts if part)}.json"


def write_result(path: Path, machine: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Write what was measured, beside the machine and the date, and say where."""
    path.write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n")
    print(f"written: {path}")


@dataclass(frozen=True)
class Table:
    """Rows as they are to be read, what they are about, and what to know of them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def show(self) -> None:
        """Print it; a table wider than long is turned over, so that there is room for it."""
        lines: list[tuple[str, ...]] = [self.columns, *self.rows]
        if len(self.columns) > len(lines):
            lines = list(zip(*lines, strict=True))
        shown = Shown(*lines[0], title=self.title, caption=self.note)
        for line in lines[1:]:
            shown.add_row(*line)
        Console(markup=False, highlight=False).print(shown)

    def markdown(self) -> str:
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        return "\n".join(part for part in (f"{self.title}\n", table, self.note) if part) + "\n"
