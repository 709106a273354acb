"""`make load`, small: what it says of a run of 2,000 identities."""

import json
import subprocess
import sys

import pytest


@pytest.mark.long
def test_a_run_under_load_is_exact_flat_and_asks_for_nothing_twice():
    done = subprocess.run(
        [sys.executable, "-m", "bench.queue", "--identities", "2000", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    printed = json.loads(done.stdout)
    assert done.returncode == 0, printed
    assert (printed["exact"], printed["wrong"], printed["duplicates"]) == (True, [], 0)
    assert (printed["identities"], printed["messages"], printed["requests"]) == (2000, 40, 40)
    assert printed["run_item_bytes"]["50"] - printed["run_item_bytes"]["10"] < 50
