"""One part of one message: its ids handed to LML in small slices, at the pace that the budget allows (DESIGN §6)."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from core.budget.pacing import Wait
from core.budget.slices import request_limit
from core.budget.throttle import Permit, Throttle
from core.clock import Clock
from core.lml.answer import Reading, read_answer
from core.lml.client import Answer, Kind, LmlError
from core.runs.plan import RefreshMessage
from core.runs.totals import ERROR_TOTALS, Totals
from core.settings import LML_REFRESH_BATCH_CAP
from core.telemetry import MetricName, Step

COMMIT_RESERVE_SECONDS: Final = 20.0
"""Seconds that a part keeps for committing what it did and handing on the rest."""
_STOPS_THE_RUN: Final = frozenset({401, 403, 404, 405})


class Stop(msgspec.Struct, frozen=True):
    """Why the whole run must end early: a cause to tell runs apart by, and a sentence for a person."""

    cause: str
    reason: str


class PartResult(msgspec.Struct):
    """What one part did; `left` are ids without a verdict with their failures, in the order to go on with."""

    totals: Totals = Totals()
    left: dict[int, int] = {}
    not_found: list[int] = []
    failed: dict[int, str] = {}
    rejected: list[LmlError] = []
    delay: float = 0.0
    """Paced seconds before the next part may do anything useful."""
    ended: bool = False
    """The run is stopping, or past its deadline: what is left is not attempted."""
    stop: Stop | None = None


class Upstream(Protocol):
    """What a part asks of LML; `core.lml.client.Lml` is one, the load test's model another."""

    def refresh(self, ids: Sequence[int], *, limit: float) -> Answer: ...


class Span(Protocol):
    def failed(self, kind: Kind) -> None: ...


class Reporter(Protocol):
    """What a part tells; `core.telemetry.Telemetry` is one."""

    def metric(self, name: MetricName, value: float) -> None: ...

    def warning(self, step: Step, message: str, **fields: object) -> None: ...

    def request_span(self, *, batch_size: int, timeout_ms: int) -> AbstractContextManager[Span]: ...


class Worker(msgspec.Struct, frozen=True):
    """What a slot works with, made once per environment."""

    lml: Upstream
    throttle: Throttle
    clock: Clock
    telemetry: Reporter
    max_attempts: int

    def work(
        self, message: RefreshMessage, *, time_left: Callable[[], float], run_goes_on: Callable[[], bool]
    ) -> PartResult:
        """Work on a part until its ids have verdicts, the run ends, or `time_left` (paced seconds) gets short."""
        return _Part(self, message, time_left, run_goes_on).work()


class _Part:
    def __init__(
        self, worker: Worker, message: RefreshMessage, time_left: Callable[[], float], run_goes_on: Callable[[], bool]
    ) -> None:
        self._worker = worker
        self._clock = worker.clock
        self._throttle = worker.throttle
        self._telemetry = worker.telemetry
        self._time_left = time_left
        self._run_goes_on = run_goes_on
        self._failures = dict(message.attempts)
        self._queue = deque(sorted(self._failures, key=lambda identity: self._failures[identity] > 0))
        self._asked_before = {identity for identity, count in self._failures.items() if count}
        self._most = _fitting(time_left())
        self._failed_in_a_row = 0
        self._not_before = 0.0
        self._discogs_calls = 0.0
        self._warned: set[str] = set()
        self._result = PartResult()

    def work(self) -> PartResult:
        result = self._result
        try:
            self._throttle.measure_round_trip()
        except LmlError as error:
            self._stop(error)
        while self._queue and result.stop is None:
            permit = self._wait_for_permit()
            if permit is None:
                break
            self._send(permit)
        result.left = {identity: self._failures[identity] for identity in self._queue}
        result.totals += Totals(discogs_calls_estimated=round(self._discogs_calls))
        return result

    def _wait_for_permit(self) -> Permit | None:
        """Wait until a slice may start; None when the run ends, or when what time is left does not cover it."""
        started = self._clock.pace()
        wait: Wait | None = None
        while True:
            if not self._run_goes_on():
                self._result.ended = True
                return None
            wanted = 1 if self._failed_in_a_row else min(self._throttle.size.ids, len(self._queue), self._most)
            needed = request_limit(wanted) + COMMIT_RESERVE_SECONDS
            if self._not_before > self._clock.pace():
                wait = Wait(self._not_before, "budget")
            elif self._time_left() >= needed:
                answer = self._throttle.ask(wanted)
                if isinstance(answer, Permit):
                    self._telemetry.metric("PacingWaitMillis", (self._clock.pace() - started) * 1000)
                    return answer
                wait = answer
            elif wait is None:
                wait = self._throttle.foresee()
            ahead = max(0.0, wait.until - self._clock.pace())
            if self._time_left() < needed + (0.0 if wait.reason == "breaker" else ahead):
                self._result.delay = ahead
                return None
            self._clock.sleep(self._throttle.pause(wait))

    def _send(self, permit: Permit) -> None:
        ids = [self._queue.popleft() for _ in range(permit.ids)]
        limit = request_limit(len(ids))
        self._result.totals += Totals(lml_requests=1, retries=len(self._asked_before.intersection(ids)))
        self._asked_before.update(ids)
        try:
            with self._telemetry.request_span(batch_size=len(ids), timeout_ms=round(limit * 1000)) as span:
                try:
                    answer = self._worker.lml.refresh(ids, limit=limit)
                except LmlError as error:
                    span.failed(error.kind)
                    raise
                reading = read_answer(ids, answer.body)
                if reading.malformed:
                    span.failed("retryable_error")
        except LmlError as error:
            self._settle(permit, None, error.elapsed)
            self._take_failure(ids, error)
        else:
            self._settle(permit, None if reading.malformed else reading.outcomes, answer.elapsed)
            self._take_reading(ids, reading)

    def _settle(self, permit: Permit, outcomes: int | None, elapsed: float) -> None:
        calls = self._throttle.settle(permit, outcomes=outcomes, elapsed=elapsed)
        self._telemetry.metric("LmlRequestMillis", elapsed * 1000)
        self._telemetry.metric("DiscogsCallsEstimated", calls)
        self._discogs_calls += calls

    def _take_reading(self, ids: list[int], reading: Reading) -> None:
        for identity in ids:
            verdict = reading.verdicts.get(identity)
            if identity in reading.shed:
                self._queue.append(identity)  # a pause, and no attempt
                continue
            if verdict is None:
                self._count_attempt(identity, reading.failed[identity])
                continue
            self._result.totals += verdict.totals
            if verdict.status == "not_found":
                self._result.not_found.append(identity)
        for status in reading.unknown_statuses - self._warned:
            self._warned.add(status)
            self._telemetry.warning("unknown_status", "LML sent a status that this job does not know", status=status)
        if reading.ignored and "ignored" not in self._warned:
            self._warned.add("ignored")
            self._telemetry.warning(
                "malformed_response", "LML answered for ids that were not asked for, or twice", results=reading.ignored
            )
        if reading.malformed:
            self._telemetry.warning("malformed_response", reading.malformed, identity_ids=list(reading.failed))
            self._push_back(None)
        else:
            self._failed_in_a_row = 0
        if reading.breaker_open:
            self._throttle.breaker_open()

    def _take_failure(self, ids: list[int], error: LmlError) -> None:
        self._telemetry.warning(
            "slice_error", str(error), identity_ids=ids, kind=error.kind, cause=error.cause, status=error.status
        )
        if error.status in _STOPS_THE_RUN:
            self._queue.extendleft(reversed(ids))
            self._stop(error)
        elif error.kind == "permanent_error":
            for identity in ids:
                self._give_up(identity, str(error))
            self._result.rejected.append(error)
        elif error.counts_as_attempt:
            for identity in ids:
                self._count_attempt(identity, str(error))
            self._push_back(error.retry_after)
        else:
            self._queue.extendleft(reversed(ids))
            self._push_back(error.retry_after)

    def _count_attempt(self, identity: int, reason: str) -> None:
        """Put an id behind all the others, or give it up after its last attempt."""
        self._failures[identity] += 1
        if self._failures[identity] >= self._worker.max_attempts:
            self._give_up(identity, reason)
        else:
            self._queue.append(identity)

    def _give_up(self, identity: int, reason: str) -> None:
        self._result.totals += ERROR_TOTALS
        self._result.failed[identity] = reason[:120]

    def _push_back(self, retry_after: float | None) -> None:
        self._failed_in_a_row += 1
        self._not_before = self._clock.pace() + self._throttle.back_off(self._failed_in_a_row, retry_after)

    def _stop(self, error: LmlError) -> None:
        self._result.ended = True
        self._result.stop = Stop(f"lml_{error.status}", str(error))


def _fitting(seconds: float) -> int:
    """Return the most ids of a request that a part of so many seconds has time for; one if none fits."""
    fitting = (
        ids for ids in range(LML_REFRESH_BATCH_CAP, 1, -1) if request_limit(ids) + COMMIT_RESERVE_SECONDS <= seconds
    )
    return next(fitting, 1)
