"""What each command prints with `--json`, as JSON Schema: `make docs` writes docs/commands.schema.json.

Fields may be added to an object; none is taken away or changes its type.
"""

from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from core.picker.walk import WarmCounters
from core.runs.ledger import Status
from core.runs.totals import SUMMARY_TOTALS, TOTALS, Trigger
from ops.beside import Beside
from ops.loadtest.report import Report
from ops.loadtest.runtime import Runtime
from ops.snapshot import Step

PAGE: Final = Path(__file__).parents[1] / "docs" / "commands.schema.json"


class Problem(msgspec.Struct):
    """Of every command that could not do what it was asked for: what is wrong, and what to do next."""

    error: str


class Up(msgspec.Struct):
    """Where the parts of the cloud are; the page shows the last run and goes on by itself."""

    page_url: str
    health_url: str
    picker_url: str
    aws_url: str
    lml_url: str
    sentry_url: str


class Down(msgspec.Struct):
    """The clouds that were ended: `up`, and each `demo` that was killed."""

    stopped: bool
    clouds: list[str]


Run = msgspec.defstruct(
    "Run",
    [
        ("run_id", str),
        ("status", Status),
        ("trigger", Trigger),
        ("origin", str | None),
        ("reason", str | None),
        ("started_at", str),
        ("closed_at", str | None),
        ("planned", int),
        ("messages_planned", int),
        ("messages_done", int),
        *((name, int) for name in TOTALS),
    ],
    namespace={"__doc__": "A run: its totals are those of the parts that are in the ledger. Times are UTC."},
)
RunStatus = msgspec.defstruct(
    "RunStatus",
    [
        ("at", str),
        ("level", Literal["well", "watch", "act"]),
        ("headline", str),
        ("todo", list[Step]),
        ("verdicts", int),
        ("failed", list[int]),
        ("failures", dict[str, int]),
        ("trouble", str | None),
        ("rests", str | None),
        ("seconds_left", int | None),
        ("slots", int),
        ("budget", int),
        ("calls_a_minute", float | None),
        ("clock_speed", float),
        ("letters", dict[str, int] | None),
        ("breaker", str | None),
        ("discogs", str | None),
        ("beside", Beside | None),
        ("unknown", dict[str, str]),
    ],
    bases=(Run,),
    kw_only=True,
    namespace={
        "__doc__": "A run at the moment `at`. Its totals hold the parts under way; `failed` and `failures` are those "
        "that are committed. `todo` is what to do now, by urgency. Estimates are `seconds_left`, of the wall, and "
        "`calls_a_minute`, of the run's own clock. `letters` wait for a person. `beside` is what a stand-in LML saw of "
        "all callers. What is null is not known; `unknown` says why."
    },
)


class PageUpdate(msgspec.Struct):
    """What a browser shows from now on."""

    title: str
    html: str


class Beat(msgspec.Struct):
    """After every look: when the data was read, in UTC, and why it could not be read again."""

    at: str
    problem: str | None


class End(msgspec.Struct):
    """The last event: nobody looks any more."""

    text: str


EVENTS: Final[dict[str, Any]] = {"run": RunStatus, "page": PageUpdate, "beat": Beat, "end": End}
"""The data of each server-sent event of a run's page, at its address with `events` added."""


class Started(msgspec.Struct):
    """The answer of fan-out: `started` and `dry_run` are what was asked for, others are not."""

    outcome: str
    run_id: str | None = None
    planned: int | None = None
    messages: int | None = None
    hint: str | None = None


class Listed(msgspec.Struct):
    """The newest runs, and how many older ones there are."""

    runs: list[Run]  # type: ignore[valid-type]  # made above
    older: int


class Logs(msgspec.Struct):
    """Log lines as the functions wrote them."""

    lines: list[dict[str, Any]]


class Letter(msgspec.Struct):
    kind: Literal["parked", "dead", "start"]
    id: str
    sent: str
    reason: str
    body: str


class NotDone(msgspec.Struct):
    id: str
    error: str


class Letters(msgspec.Struct):
    """What waits for a person, the ids of those that were replayed or discarded, and those that could not be."""

    letters: list[Letter]
    done: list[str]
    not_done: list[NotDone]


class Page(msgspec.Struct):
    """Where the page is, and what it could not be made of."""

    report: str
    run_id: str
    status: Status
    stale: list[int]
    failed: list[int]
    unknown: dict[str, str]


class Check(msgspec.Struct):
    check: str
    status: Literal["ok", "failed", "skipped"]
    reason: str
    next: str
    details: list[str]
    seconds: float


class Checks(msgspec.Struct):
    """Every check that was made, with the next step where one failed."""

    ok: bool
    checks: list[Check]


class Preflight(Checks, kw_only=True):
    """The checks, and the cloud or stack that was looked at."""

    target: str


class Smoke(Checks, kw_only=True):
    """The checks, and the address that was asked."""

    lml: str


class Change(msgspec.Struct):
    """An object in Sentry that differs from the files, line by line."""

    where: str = msgspec.field(name="in")
    name: str
    differences: list[str]
    notes: list[str]


class Changes(msgspec.Struct):
    changes: list[Change]


class Use(msgspec.Struct):
    """An object in Sentry that uses the old job's attributes."""

    where: str = msgspec.field(name="in")
    name: str
    rewritten: list[str]
    by_hand: list[str]


class Migration(msgspec.Struct):
    """What uses the old attributes; `saved` is the file for --undo."""

    found: list[Use]
    applied: bool
    saved: str | None


class PutBack(msgspec.Struct):
    put_back: list[str]


Demo = msgspec.defstruct(
    "Demo",
    [
        ("run_id", str | None),
        ("status", str),
        ("planned", int),
        *((name, int) for name in SUMMARY_TOTALS),
        ("seconds", float),
        ("beside", Beside | None),
        ("report", str | None),
    ],
    namespace={
        "__doc__": "The demo's run; `seconds` are wall time, `beside` is what DJs met, null beside an LML of one's own."
    },
)


class PickerDemo(msgspec.Struct):
    """Milliseconds of the same open before and after the walk, and the walk's counters; null if it did not end."""

    open_cold_ms: float | None
    open_warm_ms: float | None
    warm: WarmCounters | None


class Measured(Runtime, frozen=True):
    """Calls a minute of LML's other callers; `several` if no figure can be had from outside."""

    several: bool = msgspec.field(default=False)


SHAPES: Final[dict[str, Any]] = {
    "up": Up,
    "down": Down,
    "run": Started,
    "run --wait": Run,
    "replay": Started,
    "replay --wait": Run,
    "stop": Run,
    "list": Listed,
    "status": RunStatus,
    "logs": Logs,
    "dead-letters": Letters,
    "report": Page,
    "preflight": Preflight,
    "smoke": Smoke,
    "demo": Demo,
    "demo --picker": PickerDemo,
    "loadtest": Report,
    "loadtest --measure-runtime": Measured,
    "sentry plan": Changes,
    "sentry apply": Changes,
    "sentry migrate": Migration,
    "sentry migrate --undo": PutBack,
}


def document() -> dict[str, object]:
    """Return all shapes as one JSON Schema: `$defs` by type, `commands` by command, `events` by name."""
    types = list({id(it): it for it in (Problem, *SHAPES.values(), *EVENTS.values())}.values())
    schemas, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    by_type = {id(it): schema for it, schema in zip(types, schemas, strict=True)}
    commands = {name: by_type[id(it)] for name, it in SHAPES.items()} | {"error": by_type[id(Problem)]}
    events = {name: by_type[id(it)] for name, it in EVENTS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "commands": commands,
        "events": events,
        "$defs": components,
    }
