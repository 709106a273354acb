"""docs/load-test.md, the decisions and the runbook say what the code does."""

import re
from pathlib import Path

import pytest

from core import settings
from ops.loadtest.cli import loadtest
from ops.loadtest.document import Document
from ops.loadtest.slots import SLOTS

DOCS = Path(__file__).parents[3] / "docs"
REPORT = (DOCS / "load-test.md").read_text()
DEFAULTS = {variable.name: variable.default for variable in settings.VARIABLES}


@pytest.mark.parametrize(
    ("name", "default"),
    [(name, DEFAULTS[name]) for name in DEFAULTS if name.startswith("DISCOGS_") or name == "REFRESH_SLICE_MAX"],
)
def test_the_chosen_numbers_are_the_defaults(name, default):
    assert Document.read().chosen[name] == int(default)


def test_the_settings_agree_with_themselves():
    limits = settings.Pacing()

    assert [limits.budget, limits.slice_max] == [
        int(DEFAULTS[name] or 0) for name in ("DISCOGS_BUDGET_PER_MINUTE", "REFRESH_SLICE_MAX")
    ]
    assert f"| slots | {SLOTS} |" in REPORT


def test_every_line_of_the_report_holds():
    told = re.findall(r"\| (holds|\*\*broken\*\*) \|$", REPORT, re.MULTILINE)

    assert len(told) > 50
    assert set(told) == {"holds"}


def test_the_report_says_so_while_nobody_has_run_it_in_staging():
    assert ("Nobody has run this in staging yet." in REPORT) is (Document.read().seen_in_staging() is None)


def test_every_option_that_the_documents_use_exists():
    used = set(re.findall(r"rotation loadtest([^\n`]*)", REPORT + (DOCS / "runbook.md").read_text()))
    known = {name for option in loadtest.params for name in option.opts}

    assert used
    assert {word for line in used for word in line.split() if word.startswith("-")} <= known
