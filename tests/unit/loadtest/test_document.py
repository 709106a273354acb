"""docs/load-test.md as preflight reads it."""

import pytest

from ops.loadtest.document import Document, Figure, Fit

PAGE = """# The load test

## What was chosen

| setting | value | |
| --- | --- | --- |
| `DISCOGS_BUDGET_PER_MINUTE` | 8 | calls a minute |
| slots | 2 | at once |

## Which pace fits

| others a minute, at most | pace | openings added |
| --- | --- | --- |
| 20 | 4 | 3 |
| 10 | 8 | 0.1 |

## Method

| `DISCOGS_BUDGET_PER_MINUTE` | 99 | of another table |

## Measured at LML

Words.

| date | LML commit | minutes | others a minute | busiest minute |
| --- | --- | --- | --- | --- |
"""


@pytest.fixture
def read(tmp_path):
    def reading(text):
        page = tmp_path / "load-test.md"
        page.write_text(text)
        return Document.read(page)

    return reading


def test_the_chosen_numbers_are_those_of_their_own_table(read):
    assert read(PAGE).chosen == {"DISCOGS_BUDGET_PER_MINUTE": 8}


@pytest.mark.parametrize(
    ("others", "fit"), [(0, Fit(10, 8)), (10, Fit(10, 8)), (10.1, Fit(20, 4)), (20.1, None)], ids=str
)
def test_the_row_that_fits_is_the_first_with_so_many_others(read, others, fit):
    assert read(PAGE).fitting(others) == fit


@pytest.mark.parametrize(
    ("rows", "figure"),
    [
        pytest.param("", None, id="none"),
        pytest.param("| 2026-02-01 | 8a1344c | 60 | 9.5 | 30 |\n", Figure("2026-02-01", 60, 9.5), id="one"),
        pytest.param(
            "| 2026-03-01 | 9b | 90 | 4 | 9 |\n| 2026-02-01 | 8a | 60 | 9 | 30 |\n",
            Figure("2026-03-01", 90, 4),
            id="the newest",
        ),
        pytest.param("| 2026-02-01 | 8a1344c | 59 | 9.5 | 30 |\n", None, id="under an hour"),
        pytest.param("| 2026-02-01 | 8a1344c | | 9.5 | 30 |\n", None, id="an empty cell"),
        pytest.param("| | | | | |\n", None, id="empty cells"),
        pytest.param("| soon | 8a1344c | 60 | 9.5 | 30 |\n", None, id="no date"),
    ],
)
def test_a_figure_counts_once_an_hour_was_measured(read, rows, figure):
    assert read(PAGE + rows).figure() == figure


def test_a_page_without_its_sections_is_refused(read):
    with pytest.raises(ValueError, match="no section 'What was chosen'"):
        read("# Another page\n")
