"""Tables of the documents are made from the code, and a change of either without the other is seen."""

import re

import pytest

from core.settings import VARIABLES
from local import deploy
from ops import docs


def test_every_table_is_what_make_docs_writes():
    assert [str(path) for path in docs.stale()] == []


def test_every_variable_is_in_the_readme():
    page = docs.README.read_text(encoding="utf-8")
    assert re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE) == [variable.name for variable in VARIABLES]


def test_a_default_that_somebody_wrote_by_hand_is_put_right():
    page = docs.README.read_text(encoding="utf-8")
    assert docs.settings_table(page.replace("| `DB_PORT` | `5432` |", "| `DB_PORT` | `6543` |")) == page


def test_the_guide_has_every_parameter_in_the_order_in_which_it_is_asked_for():
    rows = re.findall(r"^\| `([A-Z][a-z]\w+)` \| .+ \|$", docs.GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(deploy.read()["Parameters"])


def test_a_parameter_without_an_answer_is_named():
    page = docs.GUIDE.read_text(encoding="utf-8")
    without = re.sub(r"^\| `BatchSize` .*\n", "", page, flags=re.MULTILINE)

    with pytest.raises(ValueError, match="BatchSize"):
        docs.parameters_table(without)
