"""The project never changes the backend's tables."""

import re
from pathlib import Path

import pytest

SRC = Path(__file__).parents[3] / "src"


@pytest.mark.parametrize("path", sorted([*SRC.rglob("*.sql"), *SRC.rglob("*.py")]), ids=lambda path: path.name)
def test_there_is_no_ddl(path):
    statements = r"\b(CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE|COMMENT ON|REINDEX|VACUUM)\b"
    assert not re.findall(statements, path.read_text(encoding="utf-8"))


def test_one_column_is_all_that_is_ever_written():
    sql = "".join(path.read_text(encoding="utf-8") for path in SRC.rglob("*.sql"))
    assert re.findall(r"\b(INSERT|UPDATE|DELETE|MERGE)\b", sql) == ["UPDATE"]
    assert "SET tracklist_lookup_attempted_at" in sql
