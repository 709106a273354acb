"""The records of a run in every part of this machine's cloud, for the audit."""

from collections.abc import Sequence
from typing import Any, Final

import httpx
import msgspec

from core import settings
from core.rotation import table as rotation
from core.runs.ledger import Message
from local import sentry
from local.cloud import Cloud
from local.world import World
from ops.audit import Asked, Evidence
from ops.target import database_of, no_secret

CONCURRENCY: Final = 2
QUEUES: Final = ("RefreshQueue", "DeadLetterQueue", "ParkedQueue", "FanOutFailureQueue")


def gather(there: Cloud, messages: Sequence[Message], world: World | None) -> Evidence:
    """Read database, LML's log, Sentry, CloudWatch and the queues; without a world LML's log is not read."""
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
    stats = _get(there.lml_url, "/_stats")
    return Asked(
        last_status=asked,
        requests=len(calls),
        at_once=stats["in_flight_most"],
        discogs_calls=stats["discogs_calls_by_kind"].get("refresh", 0),
    )


def _waiting(there: Cloud) -> dict[str, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = {}
    for queue in QUEUES:
        answer = there.client("sqs").get_queue_attributes(QueueUrl=there.names[queue], AttributeNames=names)
        counts[queue] = sum(int(answer["Attributes"][name]) for name in names)
    return counts


def _get(url: str, path: str) -> Any:  # noqa: ANN401 - JSON of the stand-ins
    return msgspec.json.decode(httpx.get(url + path).content)
