"""docs/load-test.md as preflight reads it."""

import pytest

from ops.loadtest.document import Document

PAGE = """# The load test

## What was chosen

| setting | value | |
| --- | --- | --- |
| `DISCOGS_RATE_LIMIT` | 50 | calls a minute |
| reserve below LML's limit | 6 | calls a minute |

## Method

| `DISCOGS_RATE_LIMIT` | 99 | of another table |

## In staging

Words.

| date | LML commit | budget | observed |
| --- | --- | --- | --- |
"""


@pytest.fixture
def read(tmp_path):
    def reading(text):
        page = tmp_path / "load-test.md"
        page.write_text(text)
        return Document.read(page)

    return reading


def test_the_chosen_numbers_are_those_of_their_own_table(read):
    assert read(PAGE).chosen == {"DISCOGS_RATE_LIMIT": 50}


@pytest.mark.parametrize(
    ("rows", "seen"),
    [
        pytest.param("", None, id="none"),
        pytest.param("| 2026-02-01 | 8a1344c | 20 | 51 calls |\n", "2026-02-01", id="one"),
        pytest.param("| 2026-02-01 | 8a1344c | 20 | x |\n| 2026-03-01 | 9b | 20 | y |\n", "2026-03-01", id="the last"),
        pytest.param("| 2026-02-01 | 8a1344c | 20 | |\n", None, id="an empty cell"),
        pytest.param("| | | | |\n", None, id="empty cells"),
        pytest.param("| soon | 8a1344c | 20 | 51 calls |\n", None, id="no date"),
    ],
)
def test_staging_counts_once_a_row_is_filled_in(read, rows, seen):
    assert read(PAGE + rows).seen_in_staging() == seen


def test_a_page_without_its_sections_is_refused(read):
    with pytest.raises(ValueError, match="no section 'What was chosen'"):
        read("# Another page\n")
