"""What a benchmark wrote."""

import json
from pathlib import Path
from typing import Any


def written(folder: Path, name: str) -> dict[str, Any]:
    """The figures of the one result of this name in a folder; each says machine and date."""
    (file,) = folder.glob(f"{name}-2*.json")
    figures: dict[str, Any] = json.loads(file.read_text())
    assert figures["machine"]["processor"]
    assert figures["machine"]["date"][:10] in file.name
    return figures
