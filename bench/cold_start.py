"""`python -m bench.cold_start`: what a cold start costs as Lambda runs it, at several memory sizes, beside baselines.

A start is the processor's time of the init phase, which has a whole processor, and the time by the clock of the first
invocation, which has the share of the memory size (`bench.as_lambda`). Lambda's own runtime client runs each handler
with Lambda's Python, secrets are named by their ARNs, and all but the database is asked over TLS. In turns with ours:

- `bare`: a handler that imports nothing;
- `plain`: the same dependencies, clients and requests without our code, from untouched wheels;
- `by_the_book`: the same requests as the documentation of Powertools, boto3 and Sentry has it, from untouched wheels;
- `before`: the package of commit BEFORE, by its own build, where the repository has that commit.

The events need little work: the refresh and the dead-letter function park a message that is none (one SendMessage),
fan-out makes a dry run of an empty table (one connection, four statements, spans for Sentry), the picker's functions
look for a row that is not there, the authorizer fetches a key and lets a token in. What ours, plain and by_the_book ask
for is counted, and other numbers are an error; but for secrets, of which ours may read fewer: it leaves those alone
that a first invocation does without.

Not in the figures: the network, whose time is nobody's here; TLS to the database, which is on this machine; what Lambda
does before it starts a process, such as fetching the package; another processor than this one.

The processes of the bench and of the baselines share the machine: what it prints is worth most on an idle one.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Final

from bench import as_lambda, figures, memory_size, packages, stand_in
from bench.as_lambda import Function, Group, Taken, Turn
from bench.figures import Figure
from local import postgres

HANDLERS: Final = ("refresh", "fan_out", "dead_letter", "rotation_tracks", "warm_tracks", "authorize")
AT: Final = 512
"""MB at which the limits hold."""
ROUNDS: Final = {256: 2, 512: 5, 1024: 2, 1769: 2}
BEFORE: Final = "53b3086"
"""The last commit whose functions made their clients in the first invocation, from all of botocore's data."""
_BASELINES: Final = ("plain", "by_the_book")
_NO_MESSAGE: Final = {"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": "no message"}]}
_EVENTS: Final[Mapping[str, object]] = {
    "refresh": _NO_MESSAGE,
    "fan_out": {"dry_run": True},
    "dead_letter": _NO_MESSAGE,
    "rotation_tracks": {
        "version": "2.0",
        "routeKey": "GET /library/rotation/{rotation_id}/tracks",
        "rawPath": "/library/rotation/7/tracks",
        "pathParameters": {"rotation_id": "7"},
        "requestContext": {"stage": "$default", "http": {"method": "GET", "path": "/library/rotation/7/tracks"}},
        "headers": {},
    },
    "warm_tracks": {},
}
_SAME_REQUESTS: Final = ("ours", "plain", "by_the_book")
_LIMITS: Final[Mapping[str, float | None]] = {"plain": 1.0, "by_the_book": None, "bare": None, "before": 0.55}
_NO_LIMIT: Final = frozenset({"authorize"})
"""PyJWT's own client has no limit on the whole of a fetch, and so does without an HTTP client."""
_AGAINST: Final = {
    "bare": "a handler that imports nothing",
    "plain": "a plain handler with the same dependencies, clients and requests, from untouched wheels (bench/plain)",
    "by_the_book": "Powertools, boto3 and Sentry as their documentation has it, the same requests (bench/by_the_book)",
    "before": f"the package of commit {BEFORE}",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that take turns: where it imports from, and the module of a function's handler there."""

    name: str
    paths: tuple[Path, ...]
    module: str


@dataclass(frozen=True, slots=True)
class Bench:
    """Where cold starts are measured."""

    python: str
    sides: Mapping[str, Sequence[Side]]
    """Who takes turns, for the functions of each package."""
    cloud: stand_in.Cloud
    environment: Mapping[str, str]
    log: Path

    def turn(self, function: str, group: Group) -> Turn:
        """Start each side once; the commit before only at the size that its limits are for."""
        starts, asked = {}, {}
        name = "authorize" if function == "authorize" else "package"
        for side in self.sides[name]:
            if side.name == "before" and group.memory != AT:
                continue
            environment = {**self.environment, "PYTHONPATH": os.pathsep.join(map(str, side.paths))}
            what = Function(self.python, side.module.format(function) + ".handler", environment)
            event = _EVENTS.get(function, {"headers": {"authorization": f"Bearer {self.cloud.token()}"}})
            starts[side.name] = as_lambda.start(what, json.dumps(event), self.log, group)
            asked[side.name] = self.cloud.taken()
        secrets = {name: asked[name].pop("GetSecretValue", 0) for name in _SAME_REQUESTS}
        others = {name: asked[name] for name in _SAME_REQUESTS if asked[name] != asked["ours"]}
        if others or secrets["ours"] > secrets["plain"]:
            raise RuntimeError(f"{function}: ours asked for {asked['ours']}, but {others}; secrets: {secrets}")
        return starts


@contextmanager
def bench(quick: bool) -> Iterator[Bench]:
    """Lay everything out; a quick one takes this interpreter and what it has installed, and builds nothing."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        stand_in.certify(directory)
        sides = _sides(directory, quick)
        authority = (directory / "authority.pem").read_bytes()
        paths = {path for of in sides.values() for side in of for path in side.paths}
        for path in (path for path in paths if (path / "certifi").is_dir()):
            packages.trust(path, authority)
        with stand_in.cloud(directory) as cloud:
            database = postgres.start(directory)
            try:
                given = database.environment()
                secrets = {
                    "SENTRY_DSN": cloud.url.replace("://", "://key@") + "/1",
                    "LML_API_KEY": "key-of-the-bench",
                    "DB_PASSWORD": given.pop("DB_PASSWORD"),
                }
                environment = {
                    **given,
                    **cloud.environment(),
                    **cloud.keep(secrets),
                    **cloud.authorization(),
                    "REFRESH_QUEUE_URL": f"{cloud.url}/1/refresh",
                    "PARKED_QUEUE_URL": f"{cloud.url}/1/parked",
                    "LIBRARY_METADATA_URL": cloud.url,
                    "LOCAL_DEV": "1",  # the embedded database has no TLS
                }
                python = sys.executable if quick else packages.python()
                yield Bench(python, sides, cloud, environment, directory / "log")
            finally:
                postgres.stop(database)


def _sides(directory: Path, quick: bool) -> dict[str, list[Side]]:
    baselines = directory / "baselines"  # with nothing of ours beside them
    baselines.mkdir()
    for baseline in _BASELINES:
        (baselines / baseline).symlink_to(Path(__file__).parent / baseline)
    client: tuple[Path, ...] = ()
    if quick:
        here = packages.lay_out(directory / "packages")
        untouched = dict.fromkeys(("package", "authorize"), here)
        ours: dict[str, tuple[Path, ...]] = dict.fromkeys(untouched, (packages.ROOT / "src", here))
    else:
        client = (packages.runtime_client(),)
        untouched, ours = packages.untouched(), {name: (path,) for name, path in packages.ours().items()}
    sides = {
        name: [
            Side("bare", (baselines, *client, wheels), "plain.bare"),
            Side("plain", (baselines, *client, wheels), "plain.{}"),
            Side("by_the_book", (baselines, *client, wheels), "by_the_book.{}"),
            Side("ours", (*ours[name], *client), "handlers.{}"),
        ]
        for name, wheels in untouched.items()
    }
    if not quick and packages.knows(BEFORE):  # which had no authorizer
        sides["package"].append(Side("before", (packages.of_commit(BEFORE), *client), "handlers.{}"))
    return sides


def take(here: Bench, rounds: Mapping[int, int], handlers: Sequence[str]) -> Taken:
    """Measure each function so often at each size, in turns, so that what disturbs one side disturbs all."""
    taken: Taken = {}
    with as_lambda.groups(tuple(rounds)) as groups:
        for at in range(max(rounds.values())):
            for size, function in product((size for size, times in rounds.items() if at < times), handlers):
                taken.setdefault((function, size), []).append(here.turn(function, groups[size]))
    return taken


def measure(quick: bool, handlers: Sequence[str] = HANDLERS) -> list[Figure]:
    """Return a figure for each function, baseline and size; a month's cost needs the functions of the refresh."""
    with bench(quick) as here:
        if not quick:
            take(here, {AT: 1}, handlers)  # fills the machine's caches of files
        taken = take(here, {AT: 1} if quick else ROUNDS, handlers)
    return [*_figures(taken), *(memory_size.figures(taken) if set(handlers) == set(HANDLERS) else ())]


def _figures(taken: Taken) -> Iterator[Figure]:
    for (function, size), turns in sorted(taken.items(), key=lambda one: (one[0][1] != AT, one[0][1])):
        limits = _LIMITS if size == AT else {"plain": None}
        for side in (side for side in limits if side in turns[0]):
            totals = [(turn["ours"].total, turn[side].total) for turn in turns]
            what, note = f"cold start, {function}, {size} MB", _phases(turns) if side == "plain" else ""
            limit = None if function in _NO_LIMIT else limits[side]
            yield figures.compared(what, totals, unit="ms", against=_AGAINST[side], limit=limit, note=note)
        if "before" in turns[0]:
            firsts = [(turn["ours"].invocation, turn["before"].invocation) for turn in turns]
            what = f"first invocation, {function}, {size} MB"
            yield figures.compared(what, firsts, unit="ms", against=_AGAINST["before"], limit=0.15)
        if size == AT:
            most = max(turn["ours"].peak for turn in turns)
            yield Figure(what=f"most memory, {function}", unit="MB", ours=round(most, 1), limit=64)


def _phases(turns: Sequence[Turn]) -> str:
    """Return how long the init phase and the first invocation of each side took."""
    lines = []
    for side in turns[0]:
        starts = [turn[side] for turn in turns]
        init, first = median(start.init for start in starts), median(start.invocation for start in starts)
        lines.append(f"{side} {init:.0f} + {first:.0f} ms, {max(start.peak for start in starts):.0f} MB")
    scaled = any(start.scaled for start in turns[0].values())
    how = (
        ", scaled by the processor's time, since no control group can be made here (that takes root)" if scaled else ""
    )
    return f"init + first invocation{how}: {'; '.join(lines)}"


if __name__ == "__main__":
    figures.run("bench.cold_start", "Measures cold starts as Lambda runs them.", measure)
