"""`python -m bench.fan_out`: a run of a million ids, from PostgreSQL to the queue client.

Ours is `core.runs.fan_out`, gate open; the baseline is a bare loop that reads the same pages, writes the same items,
reads them back, sends the same batches and marks the same items, all by hand. Each measurement is a process of its
own with a table of its own, in turns; the database is a real one. `memory_aws` takes the calls, and both sides' are
counted: other numbers are an error. Memory is the most that the process ever had, interpreter and imports included.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
from pg8000 import native  # type: ignore[import-untyped]  # ships no type information

from bench import figures
from bench.figures import Figure
from bench.memory_aws import QUEUE_URL, TABLE, MemoryAws
from core import settings
from core.aws.client import CLIENT
from core.aws.queues import RefreshQueue
from core.clock import SystemClock
from core.lml.gate import Gate
from core.rotation import postgres
from core.rotation import table as rotation
from core.runs.fan_out import FanOut
from core.runs.ledger import open_ledger
from core.runs.lifecycle import RunLifecycle
from core.telemetry import Telemetry
from local import postgres as stand_in

IDS: Final = 1_000_000
FEWER: Final = 100_000
PAIRS: Final = 3
LIMIT: Final = 1.15
MEMORY_LIMIT: Final = 150.0
"""MB."""
GROWTH_LIMIT: Final = 1.10
"""Memory at a million ids by that at a tenth of them."""
_SQL: Final = """
TRUNCATE {schema}.rotation;
INSERT INTO {schema}.rotation (rotation_bin, discogs_release_id, lml_identity_id)
SELECT 'H', id, id FROM generate_series(1, {ids}) AS id;
ANALYZE {schema}.rotation;
"""


class Taken(msgspec.Struct, frozen=True):
    """What a process measured of itself; memory in MB, `before` the work and at its highest."""

    seconds: float
    processor: float
    before: float
    memory: float
    calls: dict[str, int]


def measure(quick: bool) -> list[Figure]:
    ids, fewer = (4_000, 2_000) if quick else (IDS, FEWER)
    with tempfile.TemporaryDirectory() as name:
        server = stand_in.start(Path(name))
        try:
            _fill(server, fewer)
            few = _side("ours", server, Path(name), fewer)
            _fill(server, ids)
            pairs = [
                (_side("ours", server, Path(name), ids), _side("bare", server, Path(name), ids))
                for _ in range(1 if quick else PAIRS)
            ]
        finally:
            stand_in.stop(server)
    for ours, bare in pairs:
        if ours.calls != bare.calls:
            raise RuntimeError(f"ours called {ours.calls}, the bare loop {bare.calls}")
    many = max((ours for ours, _ in pairs), key=lambda ours: ours.memory)
    against, what = "the same pages, items and batches in a bare loop", f"fan-out of {ids:,} ids"
    counted = ", ".join(f"{count} {call}" for call, count in sorted(many.calls.items()))
    by_clock = [(ours.seconds, bare.seconds) for ours, bare in pairs]
    of_processor = [(ours.processor, bare.processor) for ours, bare in pairs]
    return [
        figures.compared(what, by_clock, unit="s", against=against, limit=LIMIT, note=f"on both sides {counted}"),
        figures.compared(what, of_processor, unit="s CPU", against=against),
        Figure(
            what=f"{what}, memory",
            unit="MB",
            ours=many.memory,
            limit=MEMORY_LIMIT,
            note=f"{many.before} MB of it before the work",
        ),
        figures.compared(
            f"{what}, growth",
            [(many.memory, few.memory)],
            unit="MB",
            against=f"the memory for {fewer:,} ids",
            limit=GROWTH_LIMIT,
        ),
    ]


def ours(aws: MemoryAws, database: settings.Database) -> None:
    nobody = settings.Secret("none", fetch=lambda _arn, _anew: "")
    sentry = settings.Sentry(dsn=nobody, release=None, environment="bench", traces_sample_rate=1.0)
    lifecycle = RunLifecycle(open_ledger(aws.dynamodb, TABLE), Telemetry(sentry), SystemClock())
    gate = Gate(allowed=True, reason="bench")
    queue = RefreshQueue(aws.sqs, QUEUE_URL)
    FanOut(lifecycle, queue, lambda: rotation.connect(database), lambda: gate, 50).start({}, "request")


def bare(aws: MemoryAws, database: settings.Database) -> None:
    """Do by hand what a run of the day does, from its item to its status."""
    run, now = "scheduled-2026-02-03", int(time.time())
    key, sql = {"pk": {"S": f"RUN#{run}"}, "sk": {"S": "RUN"}}, postgres.queries(_queries(), database.schema)
    status: dict[str, Any] = {"TableName": TABLE, "Key": key, "ConditionExpression": "attribute_exists(pk)"}
    change: dict[str, Any] = {"UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": {"S": "sent"}}}
    aws.dynamodb.get_item(TableName=TABLE, Key=key, ConsistentRead=True)
    aws.dynamodb.put_item(TableName=TABLE, Item={**key, "planned": {"N": "0"}})
    aws.dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": "LOCK"}, "sk": {"S": "refresh"}})
    # What lets a start that died be found: runs that are not sent whole, and the run of this request.
    unsent = {"pk": {"S": "UNSENT"}, "sk": key["pk"]}
    aws.dynamodb.query(
        TableName=TABLE,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
        ExpressionAttributeValues={":pk": unsent["pk"], ":prefix": {"S": "RUN#"}},
        ConsistentRead=True,
    )
    aws.dynamodb.put_item(TableName=TABLE, Item=unsent)
    start = {"pk": {"S": "START#request"}, "sk": {"S": "START"}}
    aws.dynamodb.get_item(TableName=TABLE, Key=start, ConsistentRead=True)
    aws.dynamodb.put_item(TableName=TABLE, Item={**start, "run_id": {"S": run}})
    begin = postgres.filled(sql["begin"], {"statement_timeout": database.statement_timeout_ms})
    connection = postgres.begun(database, begin)
    for name in ("unusable_ids", "coverage"):
        connection.run(sql[name])
    after, number, size = 0, 0, rotation.PAGE_SIZE
    while page := connection.run(postgres.filled(sql["identity_page"], {"after": after, "page_size": size})):
        after = page[-1][0]
        ids = [row[0] for row in page]
        messages = (ids[at : at + 50] for at in range(0, len(ids), 50))
        while batch := list(islice(messages, 25)):
            items: list[Any] = []
            for each in batch:
                body = {"version": 1, "run_id": run, "message": number, "part": 0, "identity_ids": each, "failed": {}}
                item = {"pk": key["pk"], "sk": {"S": f"MESSAGE#{number:05}"}, "planned": {"S": _text(each)}}
                item |= {"body": {"S": _text(body)}, "next_part": {"N": "0"}, "sent_part": {"N": "-1"}}
                items.append({"PutRequest": {"Item": {**item, "expires_at": {"N": str(now)}}}})
                number += 1
            aws.dynamodb.batch_write_item(RequestItems={TABLE: items})
    postgres.disconnect(connection)
    aws.dynamodb.update_item(**status, **change)
    pages = aws.dynamodb.get_paginator("query").paginate(
        TableName=TABLE,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
        ExpressionAttributeValues={":pk": {"S": f"RUN#{run}"}, ":prefix": {"S": "MESSAGE#"}},
        ConsistentRead=True,
    )
    waiting = (item for page in pages for item in page["Items"])
    while found := list(islice(waiting, 10)):
        entries: list[Any] = [{"Id": str(at), "MessageBody": item["body"]["S"]} for at, item in enumerate(found)]
        aws.sqs.send_message_batch(QueueUrl=QUEUE_URL, Entries=entries)
        marks: dict[str, Any] = {
            "UpdateExpression": "SET sent_part = :part",
            "ConditionExpression": "sent_part < :part",
            "ExpressionAttributeValues": {":part": {"N": "0"}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in found]
        actions: list[Any] = [{"Update": {"TableName": TABLE, "Key": each, **marks}} for each in keys]
        aws.dynamodb.transact_write_items(TransactItems=actions)
    aws.dynamodb.update_item(**status, **change)
    aws.dynamodb.delete_item(TableName=TABLE, Key=unsent)
    aws.dynamodb.get_item(TableName=TABLE, Key=key, ConsistentRead=True)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _side(side: str, server: stand_in.Postgres, directory: Path, ids: int) -> Taken:
    """Run one side in a process of its own, which measures itself."""
    table = directory / "table"
    table.unlink(missing_ok=True)
    database = directory / "database.json"
    database.write_text(json.dumps(server.environment()))
    command = [sys.executable, "-m", "bench.fan_out", "--side", side, str(database), str(table)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own command
    taken = msgspec.json.decode(done.stdout, type=Taken)
    if taken.calls["BatchWriteItem"] != -(-ids // 50 // 25):
        raise RuntimeError(f"{side} wrote {taken.calls['BatchWriteItem']} batches of {ids} ids")
    return taken


def _measure_itself(side: str, database: Path, table: Path) -> None:
    """Be the process of a side: print what it took."""
    given = msgspec.json.decode(database.read_bytes(), type=dict[str, str])
    read = settings.SettingsReader({**given, "LOCAL_DEV": "1"}, lambda _arn, _anew: "")
    aws = MemoryAws(table, config=CLIENT if side == "ours" else None)
    before, began, used = _memory(), time.perf_counter(), time.process_time()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        {"ours": ours, "bare": bare}[side](aws, read.checked(read.database()))
    taken = Taken(
        seconds=time.perf_counter() - began,
        processor=time.process_time() - used,
        before=before,
        memory=_memory(),
        calls=dict(aws.counted),
    )
    sys.stdout.write(json.dumps(msgspec.to_builtins(taken)))


def _memory() -> float:
    """Return the most memory that this process had so far, in MB; not what it had as a copy of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)  # bytes, on macOS


def _fill(server: stand_in.Postgres, ids: int) -> None:
    with stand_in.connected(server) as owner:
        for statement in _SQL.format(schema=native.identifier(server.schema), ids=ids).split(";\n")[:-1]:
            owner.run(statement)


def _queries() -> Path:
    return Path(rotation.__file__).with_name("rotation.sql")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        _measure_itself(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        figures.run("bench.fan_out", "Measures a fan-out of a million ids.", measure)
