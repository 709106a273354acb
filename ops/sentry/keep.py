"""The alert rule, the cron monitor and the dashboard, as files beside this module, and what differs in Sentry."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from core import settings
from core.schedule import CHECK_IN_MARGIN, LONGEST_ON_TIME, Schedule
from local import deploy
from ops.sentry import api
from ops.sentry.api import Api, SentryError, SentryObject
from ops.sentry.changes import KEYS, NAMES, Change
from ops.target import no_secret

FILES: Final[dict[api.Path, str]] = {
    "alert-rules": "stale-handles.yaml",
    "monitors": "monitor.yaml",
    "dashboards": "dashboard.yaml",
}


NOTES: Final[dict[api.Path, str]] = {
    "alert-rules": "Sentry alerts on no ratio of two sums: this goes by backfill.not_found_percent of a single run"
}
"""Notes for the person who applies a plan."""
LONGEST: Final = 160  # characters of a value; `plan -o` has all of them


def wanted(path: api.Path, words: Mapping[str, object]) -> SentryObject:
    """Return what a file wants, with the `$words` in it filled in."""
    read: SentryObject = yaml.safe_load((Path(__file__).parent / FILES[path]).read_text())
    filled: SentryObject = _filled(read, words)
    return filled


def of_schedule(schedule: Schedule) -> dict[str, object]:
    """Return the words of the cron monitor."""
    return {
        "$crontab": schedule.crontab,
        "$time_zone": schedule.time_zone,
        "$checkin_margin": CHECK_IN_MARGIN,
        "$max_runtime": LONGEST_ON_TIME,
    }


def schedule_in(variables: Mapping[str, str]) -> Schedule:
    """Return the schedule that fan-out's variables tell; raises SettingsError where they tell none."""
    read = settings.SettingsReader(variables, no_secret)
    schedule = read.schedule()
    if schedule is None:
        read.text("SCHEDULE_CRONTAB")  # noted as missing, unless it was noted as wrong
    return read.checked(schedule or Schedule("", ""))


def template_schedule() -> Schedule:
    """Return the schedule of the template, as it is without parameters."""
    template = deploy.read()
    variables = template["Resources"]["FanOutFunction"]["Properties"]["Environment"]["Variables"]
    defaults = template["Parameters"]
    names = ("SCHEDULE_CRONTAB", "SCHEDULE_TIME_ZONE")
    return schedule_in({name: str(defaults[variables[name]["Ref"]]["Default"]) for name in names})


def plan(sentry: Api, project: str, environment: str, schedule: Schedule) -> list[tuple[Change, list[str]]]:
    """Return each object that is not as its file says, with the differences in words; empty when all is right."""
    words: dict[str, object] = {
        "$project": project,
        "$project_id": sentry.project_id(project),
        "$environment": environment,
    }
    words |= of_schedule(schedule)
    found = []
    for path in FILES:
        name, want = NAMES[path], wanted(path, words)
        same = [other for other in sentry.all(path) if other.get(name) == want[name]]
        if len(same) > 1:
            raise SentryError(f"{len(same)} {path} are called {want[name]!r}: remove or rename all but one")
        before = sentry.read(path, str(same[0][KEYS.get(path, "id")])) if same else None
        lines = ["is not there"] if before is None else list(differences(want, before))
        if lines:
            after = want if before is None else overlaid(before, want)
            found.append((Change(path=path, name=want[name], before=before, after=after), lines))
    return found


def differences(want: Any, found: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Yield a line for each value that is wanted and not found; what Sentry has beside it is its own."""
    if isinstance(want, dict) and isinstance(found, dict):
        for name, value in want.items():
            yield from differences(value, found.get(name), f"{where}.{name}" if where else name)
    elif isinstance(want, list) and isinstance(found, list) and len(want) == len(found):
        for number, (value, other) in enumerate(zip(want, found, strict=True)):
            yield from differences(value, other, f"{where}[{number}]")
    elif want != found and not (isinstance(found, dict) and want == found.get("slug")):
        yield f"{where}: {_shown(found)} becomes {_shown(want)}"


def overlaid(found: Any, want: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return what is found with what is wanted over it: people's own settings beside it are kept."""
    if isinstance(want, dict) and isinstance(found, dict):
        return found | {name: overlaid(found.get(name), value) for name, value in want.items()}
    if isinstance(want, list) and isinstance(found, list) and len(want) == len(found):
        return [overlaid(other, value) for other, value in zip(found, want, strict=True)]
    return want


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _filled(node: Any, words: Mapping[str, object]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(node, dict):
        return {name: _filled(value, words) for name, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, words) for value in node]
    return words.get(node, node) if isinstance(node, str) else node
