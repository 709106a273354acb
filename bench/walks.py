"""`python -m bench.walks`: a virtual week of the picker's daily walks over 310, 3,000 and 30,000 rows.

The walk, the resolver, the limiter and the items of the table are the picker's own; database, table and LML lie in this
process, and no wait takes time. Every row is one of the third tier, with a lookup and a release of its own: the most
that a row can cost. After the week the walks go on until LML has been asked for every row.
"""

import contextlib
import io
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Shown

from core.aws.table import Item, Table, Value
from core.clock import Clock
from core.environment import Secret
from core.picker.limiter import Limiter
from core.picker.lookup import LookupClient
from core.picker.resolver import Resolver
from core.picker.rows import PickerRow, Rows
from core.picker.shared import SharedAnswers, SharedMeter, SharedTurns
from core.picker.tracks import Credit, Pick, ReleaseTracks
from core.picker.warm import Warmer
from core.settings import Sentry
from core.telemetry import Telemetry

ROWS: Final = (310, 3_000, 30_000)
DAYS: Final = 7
DAY: Final = timedelta(days=1)


class Lml(NamedTuple):
    """How long LML takes, in seconds."""

    what: str
    lookup: float
    release: float


LMLS: Final = (Lml("at once", 0.0, 0.0), Lml("12 s and 5.5 s", 12.0, 5.5))
"""The walk's own pace alone; and the middle of what cold rows take, 4 to 20 s and 2 to 9 s."""


class Week(NamedTuple):
    """What came of the walks; `answered` after each of the week, `all_after` walks until every row was asked for."""

    rows: int
    lml: str
    answered: list[int]
    calls: int
    again: int
    """Lookups of the week for rows that had an answer."""
    all_after: int


class VirtualClock(Clock):
    def __init__(self) -> None:
        self.speed = 1.0
        self.now = datetime(2026, 2, 3, 5, 45, tzinfo=UTC)

    def utc(self) -> datetime:
        return self.now

    def pace(self) -> float:
        return self.now.timestamp()

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=max(0.0, seconds))


class _Rows(Rows):
    def __init__(self, rows: int) -> None:
        self._rows = {number: PickerRow(None, None, "Artist", f"Album {number}", None) for number in range(1, rows + 1)}

    def row(self, rotation_id: int) -> PickerRow | None:
        return self._rows.get(rotation_id)

    def active(self) -> dict[int, PickerRow]:
        return self._rows


class _Table(Table, frozen=True):
    items: dict[tuple[str, str], Item] = msgspec.field(default_factory=dict)

    def read(self, pk: str, sk: str) -> Item | None:
        return self.items.get((pk, sk))

    def put(self, item: Item, condition: str, **values: Value) -> bool:
        self.items[str(item["pk"]), str(item["sk"])] = item
        return bool(condition or values)

    def delete(self, pk: str, sk: str, condition: str, **values: Value) -> bool:
        return bool(self.items.pop((pk, sk), None)) and bool(condition or values)

    def write_all(self, items: Sequence[Item]) -> None:
        for item in items:
            self.items[str(item["pk"]), str(item["sk"])] = item

    def scan(self, *names: str) -> Iterator[Item]:
        return ({name: item[name] for name in names if name in item} for item in self.items.values())


class _Lookups(LookupClient):
    def __init__(self, lml: Lml, clock: VirtualClock) -> None:
        self._lml, self._now = lml, clock
        self.lookups: Counter[int] = Counter()
        self.calls = 0

    def lookup(self, artist: str, album: str) -> Pick:
        self._now.sleep(self._lml.lookup)
        self.calls += 1
        number = int(album.removeprefix("Album "))
        self.lookups[number] += 1
        return Pick(number) if artist else Pick()

    def release(self, release_id: int) -> ReleaseTracks:
        self._now.sleep(self._lml.release)
        self.calls += 1
        return ReleaseTracks(release_id > 0, "Artist", (Credit("1", "Title"),))


def week(rows: int, lml: Lml) -> Week:
    """Walk for a week, and on until every row was asked for."""
    clock = VirtualClock()
    answered: list[int] = []
    complete: list[int] = []
    asked = _Lookups(lml, clock)
    telemetry = Telemetry(
        Sentry(dsn=Secret("SENTRY_DSN", fetch=_no_secret), release=None, environment="bench", traces_sample_rate=0.0)
    )
    table = _Table(client=None, name="picker")  # type: ignore[arg-type]  # nothing of the SDK is called

    def walk() -> None:
        environment = Resolver(
            _Rows(rows),
            asked,
            Limiter(SharedMeter(table), clock),
            clock,
            _raise,
            shared_picks=SharedAnswers(table, "PICK", Pick, clock, _raise),
            shared_releases=SharedAnswers(table, "RELEASE", ReleaseTracks, clock, _raise),
            shared_turns=SharedTurns(table, clock, _raise),
        )
        began = clock.utc()
        with contextlib.redirect_stdout(io.StringIO()):
            Warmer(environment, clock, telemetry, live_lookback=0).warm_rotation_tracks_cache()
        answered.append(_answered(table, clock) if len(answered) < DAYS else 0)
        if len(asked.lookups) == rows:
            complete.append(len(answered))
        clock.now = began + DAY

    for _ in range(DAYS):
        walk()
    calls, again = asked.calls, asked.lookups.total() - len(asked.lookups)
    while not complete:
        walk()
    return Week(rows, lml.what, answered[:DAYS], calls, again, complete[0])


def _answered(table: _Table, clock: VirtualClock) -> int:
    """Return how many rows have tracks: an answer and its release, both alive."""
    alive = {pk for (pk, sk), item in table.items.items() if sk == "ANSWER" and _end(item) > clock.pace()}
    return sum(pk.startswith("PICK#") and pk.replace("PICK", "RELEASE") in alive for pk in alive)


def _end(item: Item) -> float:
    return float(str(item["until"]))


def _no_secret(arn: str, _anew: bool) -> str:
    raise LookupError(arn)


def _raise(error: Exception) -> None:
    raise error


def main() -> None:
    parser = ArgumentParser(prog="python -m bench.walks", description="A virtual week of the picker's daily walks.")
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS, help="how many active rows there are")
    options = parser.parse_args()
    shown = Shown(box=SIMPLE_HEAD)
    for heading in ("rows", "LML answers", "rows with tracks after walk 1 to 7", "calls", "asked again", "all after"):
        shown.add_column(heading, justify="left" if heading.startswith(("LML", "rows with")) else "right")
    for rows in options.rows:
        for lml in LMLS:
            it = week(rows, lml)
            walks = " ".join(f"{each:,}" for each in it.answered)
            shown.add_row(f"{rows:,}", it.lml, walks, f"{it.calls:,}", f"{it.again:,}", f"{it.all_after} walks")
    Console(width=130).print(shown)


if __name__ == "__main__":
    main()
