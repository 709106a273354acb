"""docs/load-test.md and the runbook say what the code does."""

import re
from pathlib import Path

from core import settings
from ops.cli import loadtest
from ops.loadtest.document import Document
from ops.loadtest.slots import SLOTS

DOCS = Path(__file__).parents[3] / "docs"
REPORT = (DOCS / "load-test.md").read_text()
LIMITS = settings.Pacing()


def test_the_chosen_numbers_are_the_defaults():
    assert Document.read().chosen == {
        "DISCOGS_BUDGET_PER_MINUTE": LIMITS.budget,
        "REFRESH_SLICE_MAX": LIMITS.slice_max,
        "RefreshConcurrency": SLOTS,
    }


def test_every_pattern_that_only_pays_for_speed_has_its_pace():
    fits = Document.read().fits

    assert [fit.others for fit in fits] == sorted(fit.others for fit in fits)
    assert fits[0].pace >= LIMITS.budget


def test_the_report_says_so_while_nobody_has_measured_lml():
    assert ("Nobody has measured this yet." in REPORT) is (Document.read().figure() is None)


def test_every_option_that_the_documents_use_exists():
    used = set(re.findall(r"rotation loadtest([^\n`]*)", REPORT + (DOCS / "runbook.md").read_text()))
    known = {name for option in loadtest.params for name in option.opts}

    assert used
    assert {word for line in used for word in line.split() if word.startswith("-")} <= known
