"""docs/load-test.md as a program reads it: what was chosen, which pace fits, and what was measured at LML."""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple, Self

PATH: Final = Path(__file__).parents[2] / "docs" / "load-test.md"
LEAST_MINUTES: Final = 60
"""The least minutes of LML's counter for a figure that counts."""


class Fit(NamedTuple):
    """The fastest pace that fits where others make at most so many calls a minute."""

    others: float
    pace: int


class Figure(NamedTuple):
    """A result of `rotation loadtest --measure-runtime`: calls of others a minute, over so many minutes."""

    when: str
    minutes: int
    others: float


@dataclass(frozen=True, slots=True)
class Document:
    """The page's figures; `fits` are in ascending order."""

    chosen: dict[str, int]
    fits: list[Fit]
    figures: list[Figure]

    @classmethod
    def read(cls, path: Path = PATH) -> Self:
        """Read the page; raises OSError, and ValueError for a page without its sections or with other cells."""
        text = path.read_text(encoding="utf-8")
        chosen = re.findall(r"^\| `([A-Za-z_]+)` \| ([0-9]+) \|", _section(text, "What was chosen"), re.MULTILINE)
        fits = [Fit(float(row[0]), int(row[1])) for row in _rows(_section(text, "Which pace fits"))]
        measured = [row for row in _rows(_section(text, "Measured at LML")) if all(row[:4])]
        figures = [Figure(row[0], int(row[2]), float(row[3])) for row in measured if _is_date(row[0])]
        return cls({name: int(value) for name, value in chosen}, sorted(fits), figures)

    def figure(self) -> Figure | None:
        """Return the newest figure of an hour at least; None without one."""
        return max((figure for figure in self.figures if figure.minutes >= LEAST_MINUTES), default=None)

    def fitting(self, others: float) -> Fit | None:
        """Return the row for so many calls of others a minute; None where no pace fits."""
        return next((fit for fit in self.fits if others <= fit.others), None)


def _section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"{PATH.name} has no section {title!r}")
    return found[1]


def _rows(section: str) -> list[list[str]]:
    """Return the cells of the section's first table, without its head."""
    _, _, below = section.partition("| ---")
    rows = [line.strip() for line in below.splitlines()[1:] if line.startswith("|")]
    return [[cell.strip() for cell in row.removeprefix("|").removesuffix("|").split("|")] for row in rows]


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
