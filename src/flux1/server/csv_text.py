"""Rows as comma-separated values."""

import csv
import io
from typing import Any


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of equal keys; cells that a spreadsheet would run as a formula are quoted."""
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: _harmless(v) for k, v in row.items()})
    return buffer.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
