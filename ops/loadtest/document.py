"""docs/load-test.md as a program reads it: the numbers that were chosen, and what was seen in staging."""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Self

PATH: Final = Path(__file__).parents[2] / "docs" / "load-test.md"


@dataclass(frozen=True, slots=True)
class Document:
    """What the page says; `staging` holds the cells of each row of its last section, its heading's left out."""

    chosen: dict[str, int]
    staging: list[list[str]]

    @classmethod
    def read(cls, path: Path = PATH) -> Self:
        """Read the page; raises OSError, and ValueError for a page without its sections."""
        text = path.read_text(encoding="utf-8")
        chosen = re.findall(r"^\| `([A-Z_]+)` \| ([0-9]+) \|", _section(text, "What was chosen"), re.MULTILINE)
        _, _, below = _section(text, "In staging").partition("| ---")
        rows = [line.strip() for line in below.splitlines()[1:] if line.startswith("|")]
        staging = [[cell.strip() for cell in row.removeprefix("|").removesuffix("|").split("|")] for row in rows]
        return cls({name: int(value) for name, value in chosen}, staging)

    def seen_in_staging(self) -> str | None:
        """Return the date of the last row of which every cell is filled; None without one."""
        filled = [row[0] for row in self.staging if all(row) and _is_date(row[0])]
        return filled[-1] if filled else None


def _section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"{PATH.name} has no section {title!r}")
    return found[1]


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
