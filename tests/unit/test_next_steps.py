"""Every error that the code words for a person ends with what to do next."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDED = re.compile(
    r"OperatorError|CannotLookError|NoRunError|NoStackError|NeverBegunError|SentryError|ChangedMeanwhileError|StartError"
    r"|SettingsError|SendError|ClaimedError|SecretUnavailableError|(reader|self)\.(problem|_unusable)"
)
"""Exceptions and functions that are given a sentence for a person."""
NEXT = re.compile(
    r"`|--\w|\?|\b(call|choose|correct|deploy|fill|give|is to be done|leave|look|lower|must be|name|"
    r"only 1 turns it on|put|remove|repeat|restore|run this|set|start|store|such as|try|you said no|again by itself)\b",
    re.IGNORECASE,
)
FILES = sorted(it for folder in ("ops", "src") for it in (ROOT / folder).rglob("*.py") if "build" not in it.parts)


def texts(node):
    """The literal parts of a sentence, in order."""
    return " ".join(it.value for it in ast.walk(node) if isinstance(it, ast.Constant) and isinstance(it.value, str))


def sentences(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        last = node.args[-1].values[-1] if isinstance(node.args[-1], ast.JoinedStr) else node.args[-1]
        if not isinstance(last, ast.Constant):
            continue  # its end comes from elsewhere
        told = " ".join(map(texts, node.args))
        if WORDED.fullmatch(ast.unparse(node.func)) and re.search("[a-z]{2} [a-z]", told):
            yield node.lineno, told


@pytest.mark.parametrize("path", [pytest.param(it, id=str(it.relative_to(ROOT))) for it in FILES if [*sentences(it)]])
def test_an_error_says_what_to_do_next(path):
    assert [(line, told) for line, told in sentences(path) if not NEXT.search(told)] == []


def test_most_errors_are_found():
    assert sum(len([*sentences(path)]) for path in FILES) > 60
