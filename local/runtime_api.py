"""Lambda's runtime API, as much as `awslambdaric` and an internal extension ask for: drives a handler as Lambda does.

Like Lambda it starts an invocation only when the runtime and every extension have asked for the next event.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Final
from uuid import uuid4

from local.process import Process, ProcessError, end, spawn

PATIENCE: Final = 60.0
"""Seconds for an answer, the start included."""
_LOOK: Final = 0.1  # seconds between two looks at whether the process still lives
_EXTENSION: Final = "/2020-01-01/extension"
_TIMEOUT: Final = 900.0  # seconds of an invocation, as its deadline header has them


class RuntimeApi(ThreadingHTTPServer):
    """Hands one event after the other to a runtime, and keeps the answers."""

    daemon_threads = True
    process: Process  # the runtime, once it is started

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Invocation)
        self.ready = Event()
        """Set once the runtime has asked for an event: its init phase is over."""
        self.events: Queue[str] = Queue()
        self.extensions: dict[str, Queue[str]] = {}
        """The events for each extension, by the extension's identifier."""
        self.idle: Queue[str] = Queue()
        """Extensions that have asked for their next event, and so let the environment freeze."""
        self.answers: Queue[tuple[str, Any]] = Queue()

    def handle_error(self, *_: object) -> None:
        """Say nothing: a runtime that is ended hangs up."""

    def wait_until_ready(self) -> None:
        """Return when the init phase is over; raises ProcessError for its error, and where it does not end in time."""
        deadline = time.monotonic() + PATIENCE
        while not self.ready.wait(_LOOK):
            if not self.process.alive or time.monotonic() > deadline:
                raise self.process.failure("the function's init phase ended without asking for an event")

    def invoke(self, event: str) -> Any:  # noqa: ANN401 - whatever JSON the function returns
        """Return the function's answer; raises ProcessError for an error, also of its start, and for a time-out."""
        self.events.put(event)
        kind, answer = self._next_answer()
        if kind != "response":
            raise ProcessError(f"the function failed: {json.dumps(answer)}")
        return answer

    def begun(self) -> str:
        """Return the next event once all are idle, and hand it to the extensions; raises queue.Empty."""
        event = self.events.get()
        for _ in self.extensions:
            self.idle.get(timeout=PATIENCE)
        for events in self.extensions.values():
            events.put(json.dumps({"eventType": "INVOKE", "deadlineMs": int((time.time() + _TIMEOUT) * 1000)}))
        return event

    def _next_answer(self) -> tuple[str, Any]:
        deadline, ended = time.monotonic() + PATIENCE, False
        while True:
            with suppress(Empty):
                return self.answers.get(timeout=_LOOK)
            if ended:
                raise ProcessError("the function's process ended without an answer")
            if time.monotonic() > deadline:
                raise ProcessError(f"the function gave no answer in {PATIENCE:.0f} s")
            ended = not self.process.alive  # its answer may be the last that it did: one more look


class _Invocation(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # else an answer is two packets, and the second waits for the first: 88 ms a call
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == f"{_EXTENSION}/event/next":
            identifier = self.headers["Lambda-Extension-Identifier"]
            self.server.idle.put(identifier)
            self._answer(200, self.server.extensions[identifier].get(), {"Content-Type": "application/json"})
            return
        self.server.ready.set()
        event = self.server.begun()
        deadline = str(int((time.time() + _TIMEOUT) * 1000))
        headers = {  # all of them: the client reads what is missing as memory, and may die of it
            "Lambda-Runtime-Aws-Request-Id": str(uuid4()),
            "Lambda-Runtime-Deadline-Ms": deadline,
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:here",
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000",
            "Content-Type": "application/json",
        }
        self._answer(200, event, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == f"{_EXTENSION}/register":
            identifier = str(uuid4())
            self.server.extensions[identifier] = Queue()
            self._answer(200, "{}", {"Lambda-Extension-Identifier": identifier})
            return
        self.server.answers.put((self.path.rpartition("/")[2], json.loads(body)))
        self._answer(202, "", {})

    def _answer(self, status: int, body: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running(
    handler: str, environment: Mapping[str, str], log: Path, *options: str, python: str = sys.executable
) -> Iterator[RuntimeApi]:
    """Run a handler in Lambda's own runtime client, with this environment and no more; `options` are Python's."""
    with RuntimeApi() as runtime:
        Thread(target=runtime.serve_forever, daemon=True).start()
        here = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": handler,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "LAMBDA_TASK_ROOT": ".",
        }
        command = [python, *options, "-m", "awslambdaric", handler]
        runtime.process = spawn(command, log, {**environment, **here})
        try:
            yield runtime
        finally:
            end([runtime.process])
            runtime.events.put("")  # for the thread that waits for the next event; nobody reads it any more
            runtime.shutdown()
