"""Tables of the documents that are made from the code: `make docs` writes them, `make check` names the stale ones."""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import click

from core.settings import VARIABLES
from local import deploy
from ops import shapes

README: Final = deploy.ROOT / "README.md"
GUIDE: Final = deploy.ROOT / "docs" / "deploy.md"
_ANSWERS: Final = "| parameter | answer |"


def settings_table(page: str) -> str:
    """Return the README with the table of variables as core/variables.py has them."""
    rows = ((f"`{it.name}`", _code(it.default), it.meaning) for it in VARIABLES)
    return _with_table(page, "| variable | default | |", rows)


def parameters_table(page: str) -> str:
    """Return the guide with each parameter of the template, in its order; the answers are the guide's.

    Raises ValueError for a parameter that has no answer.
    """
    answers = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", _table(page, _ANSWERS), re.MULTILINE))
    parameters = list(deploy.read()["Parameters"])
    if missing := [name for name in parameters if name not in answers]:
        raise ValueError(f"docs/deploy.md does not say what to answer for {', '.join(missing)}")
    return _with_table(page, _ANSWERS, ((f"`{name}`", answers[name]) for name in parameters))


def commands_schema(_page: str) -> str:
    """Return the shapes of the answers with --json."""
    return json.dumps(shapes.document(), indent=1) + "\n"


PAGES: Final[dict[Path, Callable[[str], str]]] = {
    README: settings_table,
    GUIDE: parameters_table,
    shapes.PAGE: commands_schema,
}
"""Each page, and what makes it anew from what it is."""


def stale() -> dict[Path, str]:
    """Return the pages that differ from what the code makes, with their new text."""
    pages = {path: path.read_text(encoding="utf-8") for path in PAGES}
    made = {path: make(pages[path]) for path, make in PAGES.items()}
    return {path: page for path, page in made.items() if page != pages[path]}


def _code(text: object) -> str:
    return "" if text in (None, "") else f"`{text}`"


def _table(page: str, head: str) -> str:
    """The rows of the table below a head."""
    found = re.search(rf"^{re.escape(head)}\n\|[ :|-]+\|\n((?:\|.*\n)*)", page, re.MULTILINE)
    if found is None:
        raise ValueError(f"there is no table {head}")
    return found[1]


def _with_table(page: str, head: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    return page.replace(_table(page, head), lines)


def main() -> None:
    found = stale()
    if "--check" in sys.argv:
        names = ", ".join(str(path.relative_to(deploy.ROOT)) for path in found)
        sys.exit(f"{names}: not what the code says; `make docs` writes it" if found else 0)
    for path, page in found.items():
        path.write_text(page, encoding="utf-8")
        click.echo(path.relative_to(deploy.ROOT))


if __name__ == "__main__":
    main()
