"""What everybody on this machine's cloud has seen of a run, gathered for the audit."""

from collections.abc import Sequence
from typing import Any, Final

import httpx
import msgspec

from core import settings
from core.rotation import table as rotation
from core.runs.ledger import Message
from local import sentry
from local.cloud import Cloud
from local.lml.breaker import Opening
from local.lml.discogs import DiscogsCall, busiest_minute
from local.lml.orders import Order
from local.lml.readers import ReaderCall
from local.world import World
from ops.audit import Asked, Evidence
from ops.target import database_of, no_secret

CONCURRENCY: Final = 2
DJS: Final = Order(per_minute=10)
"""Readers of the stand-in beside a run: Discogs calls a minute, in lookups of five."""
QUEUES: Final = ("RefreshQueue", "DeadLetterQueue", "ParkedQueue", "FanOutFailureQueue")


class Beside(msgspec.Struct, frozen=True):
    """What DJs met beside a run, by the stand-in's record: the measure of the load test."""

    most_in_a_minute: int
    """Calls of everybody in Discogs' moving minute of 60; at 57 its answers open LML's breaker."""
    breaker_opened: int
    djs_calls: int
    djs_shed: int

    def lines(self, rested: float) -> list[str]:
        """Say it to a person; `rested` is how many seconds the run rested."""
        return [
            f"Discogs saw at most {self.most_in_a_minute} of its 60 calls in a minute.",
            f"LML's breaker opened {self.breaker_opened} times.",
            f"{self.djs_shed} of {self.djs_calls} calls of DJs were shed. The run rested for {rested:.0f} s.",
        ]


class _Seen(msgspec.Struct):
    calls: list[DiscogsCall] = []
    readings: list[ReaderCall] = []
    openings: list[Opening] = []


def have_djs(there: Cloud) -> None:
    """Have DJs look things up in the stand-in LML from now on."""
    httpx.post(f"{there.lml_url}/_runtime", content=msgspec.json.encode(DJS)).raise_for_status()


def beside(there: Cloud) -> Beside:
    """Return what DJs have met since they came."""
    seen = msgspec.json.decode(httpx.get(f"{there.lml_url}/_discogs").content, type=_Seen)
    return Beside(
        most_in_a_minute=busiest_minute([call.at for call in seen.calls]),
        breaker_opened=sum(opening.after == "closed" for opening in seen.openings),
        djs_calls=len(seen.readings),
        djs_shed=sum(reading.outcome == "shed" for reading in seen.readings),
    )


def gather(there: Cloud, messages: Sequence[Message], world: World | None) -> Evidence:
    """Return what the database, LML, Sentry, CloudWatch and the queues tell; without a world LML's log is not read."""
    with rotation.connect(database(there)) as table:
        database_ids = list(table.identity_ids())
    envelopes = sentry.decode(httpx.get(f"{there.sentry_url}/_envelopes").content)
    return Evidence(
        database_ids=database_ids,
        messages=messages,
        asked=None if world is None else _asked(there),
        expected=None if world is None else world.expected(database_ids),
        concurrency=CONCURRENCY,
        spans=sentry.spans(envelopes),
        check_ins=sentry.check_ins(envelopes),
        metrics=[line for function in ("FanOutFunction", "RefreshFunction") for line in there.logs(function)],
        waiting=_waiting(there),
    )


def database(there: Cloud) -> settings.Database:
    """Return what it takes to read the cloud's rotation table."""
    return database_of(there.database.environment() | {"LOCAL_DEV": "1"}, no_secret)


def lml_calls(there: Cloud) -> list[dict[str, Any]]:
    """Return the stand-in's log of requests for ids: `ids`, `status`, `results` and more of each."""
    return [call for call in _get(there.lml_url, "/_calls") if call["ids"]]


def _asked(there: Cloud) -> Asked:
    calls = lml_calls(there)
    answers = {identity: status for call in calls for identity, status in call["results"]}
    asked = {identity: answers.get(identity, "no answer") for call in calls for identity in call["ids"]}
    return Asked(last_status=asked, requests=len(calls), at_once=_get(there.lml_url, "/_stats")["in_flight_most"])


def _waiting(there: Cloud) -> dict[str, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = {}
    for queue in QUEUES:
        answer = there.client("sqs").get_queue_attributes(QueueUrl=there.names[queue], AttributeNames=names)
        counts[queue] = sum(int(answer["Attributes"][name]) for name in names)
    return counts


def _get(url: str, path: str) -> Any:  # noqa: ANN401 - JSON of the stand-ins
    return msgspec.json.decode(httpx.get(url + path).content)
