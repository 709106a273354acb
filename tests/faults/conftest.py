"""The stage on which jobs are killed, and the table of what came of it at the end of the suite."""

from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.faults.crashes import Stage


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("stage")) as stage:
        yield stage


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a line a crash point: how often it was tried, and how often LML was asked for an id once more."""
    rows: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "crash" and report.when == "call":
                    function, point, beside, again = value
                    rows[function, point].append((beside, again))
    if not rows:
        return
    terminalreporter.section("crash points: killed there, and the accounts exact")
    terminalreporter.write_line(f"{'function':12} {'point':28} {'killed':>6} {'asked again':>11}  beside")
    for (function, point), tries in rows.items():
        beside = ", ".join(sorted({beside for beside, _ in tries}))
        again = sum(again for _, again in tries)
        terminalreporter.write_line(f"{function:12} {point:28} {len(tries):6} {again:11}  {beside}")
    killed = sum(map(len, rows.values()))
    again = sum(again for tries in rows.values() for _, again in tries)
    terminalreporter.write_line(f"{killed} kills at {len(rows)} points; LML asked {again} times more than needed")
