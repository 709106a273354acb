"""A process that invokes the handlers as Lambda does, one forked child an invocation, and lets a test kill the child.

It reads one job a line and answers each with one line. A child counts the requests that it makes, to AWS and to LML,
and stops itself (SIGSTOP) right before or after the one that its job names; the test then has it killed (SIGKILL) or
lets it go on. Nothing of the project knows of this: the hooks are botocore's events and a wrapper around httpx. Time is
virtual: a sleep takes none, and LML works for 20 s on every request.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import httpx
from botocore.session import Session

from core import clock
from core.aws import client
from core.lml.http import BoundedHttp
from tests.virtual import VirtualClock

LML_SECONDS = 20.0
CLOCK = VirtualClock()


class Gate:
    """Every request of an invocation, in their order, with what it is called in the table of crash points."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.stop_at: tuple[str, int, str] | None = None
        self.trace = -1

    def before(self, name: str) -> None:
        self.seen.append(name)
        os.write(self.trace, f"{name}\n".encode())
        self._stop("before")

    def after(self) -> None:
        self._stop("after")

    def _stop(self, side: str) -> None:
        name = self.seen[-1]
        if self.stop_at == (name, self.seen.count(name), side):
            os.kill(os.getpid(), signal.SIGSTOP)


GATE = Gate()


def name_of(operation: str, body: str) -> str:
    """What a request to AWS does, in docs/design/ledger.md's words."""
    steps = {
        "TransactWriteItems": {"next_part = :next": "commit", "sent_part = :part": "mark sent", "closed_at": "close"},
        "UpdateItem": {
            "claimed_by = :me": "claim",
            "emitting_until": "emission",
            "emitted_at = :now": "mark emitted",
            "messages_planned = :messages": "begin sending",
            "all_sent_at = :now": "finish sending",
            "holder = :me": "renew lock",
            "reason = :reason": "stop",
            "run_id = :run": "note day",
        },
        "PutItem": {
            "UNSENT": "note unsent",
            "REPLAY#": "note replay",
            "PACE": "pace",
            "LOCK": "lock",
            "RUN#": "open run",
            "START#": "name run",
        },
        "DeleteItem": {"UNSENT": "forget unsent"},
        "GetItem": {"PACE": "read pace", "LOCK": "read lock", "MESSAGE#": "read message", "RUN#": "read run"},
        "BatchWriteItem": {"": "plan messages"},
        "Query": {"UNSENT": "read unsent", "": "read plan"},
        "SendMessageBatch": {"": "send messages"},
        "SendMessage": {"reason": "park", "": "send next part"},
    }
    return next((step for text, step in steps.get(operation, {}).items() if text in body), operation)


def _warm_up() -> None:
    """Import here what the libraries import at a first request, so that a child need not."""
    boto3.Session().client("dynamodb").list_tables()
    with BoundedHttp() as http:
        http.send("GET", f"{os.environ['LIBRARY_METADATA_URL']}/_stats", limit=10)


def _hook_aws() -> None:
    events = Session()
    client._session = lambda: events  # every client of the functions is made of this one
    events.register("before-call", lambda model, params, **_: GATE.before(name_of(model.name, str(params["body"]))))
    events.register("after-call", lambda **_: GATE.after())
    # Here a message that is held back would have to be waited for.
    events.register("before-parameter-build.sqs.SendMessage", lambda params, **_: params.update(DelaySeconds=0))


def _hook_lml() -> None:
    send = httpx.AsyncClient.send

    async def gated(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        asks = b'"identity_ids":[]' not in request.content and request.method == "POST"
        GATE.before("ask LML" if asks else "measure LML")
        response = await send(self, request, **options)
        if asks:
            CLOCK.advance(LML_SECONDS)
        GATE.after()
        return response

    httpx.AsyncClient.send = gated


class Context:
    def __init__(self, job: dict[str, Any]) -> None:
        self.aws_request_id = job["request_id"]
        self._ends = CLOCK.utc() + timedelta(seconds=job["timeout"])

    def get_remaining_time_in_millis(self) -> int:
        return int((self._ends - CLOCK.utc()).total_seconds() * 1000)


def _invoke(handler: Callable[..., object], job: dict[str, Any]) -> None:
    """Be one invocation; what it prints goes to a file."""
    out = os.open(job["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    CLOCK.advance(job["now"] - CLOCK.utc().timestamp())
    GATE.trace = os.open(job["trace"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    GATE.stop_at = tuple(job["stop_at"]) if job["stop_at"] else None
    try:
        answer = handler(job["event"], Context(job))
    except Exception as error:  # noqa: BLE001 - as Lambda does: told, and the invocation has failed
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
        sys.stdout.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(2 if isinstance(answer, dict) and answer.get("batchItemFailures") else 0)


def _outcome(pid: int) -> dict[str, object]:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return {"outcome": "stopped", "pid": pid}
    if os.WIFSIGNALED(status):
        return {"outcome": "killed"}
    return {"outcome": ("returned", "failed", "gave back")[os.WEXITSTATUS(status)]}


def main() -> None:
    clock.SystemClock = lambda _speed: CLOCK
    _warm_up()
    _hook_aws()
    _hook_lml()
    from handlers import dead_letter, fan_out, refresh  # noqa: PLC0415 - after the hooks

    handlers = {"fan_out": fan_out.handler, "refresh": refresh.handler, "dead_letter": dead_letter.handler}
    for build in (fan_out.build, refresh.build, dead_letter.build):
        build()  # here, so that a child costs a fork
    for line in sys.stdin:
        job = json.loads(line)
        if "signal" in job:
            os.kill(job["pid"], job["signal"])
            pid = job["pid"]
        elif (pid := os.fork()) == 0:
            _invoke(handlers[job["function"]], job)
        sys.stdout.write(f"{json.dumps(_outcome(pid))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
