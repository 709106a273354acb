"""One part of one message: its ids handed to LML in small slices, at the shared pace."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from core.aws.queues import LONGEST_DELAY
from core.budget.throttle import OutOfTime, Permit, Rest, Stopped, Throttle, request_limit
from core.clock import Clock
from core.environment import SettingsError
from core.lml.answer import Reading, Verdict, read_answer
from core.lml.client import ErrorKind, RefreshAnswer, RefreshError
from core.refresh.result import PartResult, Stop
from core.refresh.worklist import Worklist
from core.runs.ledger import Progress
from core.runs.plan import RefreshMessage
from core.runs.totals import Totals, errors
from core.telemetry import LogStep
from core.utc import moment_text

STAYS_SO: Final = 8
"""Requests of a part in a row after which a refusal is no passing fault: some four minutes of back-off."""
ASKED_AT: Final = 2
"""Answers in doubt in a row at which `/health` is asked, once: a longer row of tombstones costs no more questions."""
_WRONG_KEY: Final = frozenset({401, 403})
_NO_ENDPOINT: Final = frozenset({404, 405})


class RefreshUpstream(Protocol):
    """What a part calls of LML: `core.lml.client.RefreshClient`, or the load test's model."""

    def refresh(self, ids: Sequence[int], *, limit: float) -> RefreshAnswer: ...


class OpenSpan(Protocol):
    def failed(self, kind: ErrorKind) -> None: ...


class Reporter(Protocol):
    """What a part calls to report; `core.telemetry.Telemetry` has it."""

    def metric(self, name: str, value: float) -> None: ...

    def warning(self, step: LogStep, message: str, **fields: object) -> None: ...

    def request_span(self, *, batch_size: int, timeout_ms: int) -> AbstractContextManager[OpenSpan]: ...


class Worker(msgspec.Struct, frozen=True):
    """The services of a slot, made once per environment."""

    lml: RefreshUpstream
    throttle: Throttle
    clock: Clock
    telemetry: Reporter
    max_attempts: int

    def part(
        self,
        message: RefreshMessage,
        *,
        time_left: Callable[[], float],
        run_goes_on: Callable[[], bool],
        note: Callable[[Progress], None] = lambda _progress: None,
        lml_is_known: bool = False,
    ) -> "Part":
        """Return a message's part, ready to be worked on for `time_left` (paced seconds).

        `note` hears what the part has come to, after each request and at its end. `lml_is_known` says that LML has
        answered this run before: a 404 is then no wrong address.
        """
        return Part(self, message, time_left, run_goes_on, note, lml_is_known=lml_is_known)


class Part:
    """One part of a message and what has become of it; made by `Worker.part`, and worked on once."""

    def __init__(
        self,
        worker: Worker,
        message: RefreshMessage,
        time_left: Callable[[], float],
        run_goes_on: Callable[[], bool],
        note: Callable[[Progress], None],
        *,
        lml_is_known: bool,
    ) -> None:
        self._lml = worker.lml
        self._max_attempts = worker.max_attempts
        self._clock = worker.clock
        self._throttle = worker.throttle
        self._throttle.on_rest = self._rest
        self._telemetry = worker.telemetry
        self._message = message
        self._time_left = time_left
        self._run_goes_on = run_goes_on
        self._note = note
        self._progress = Progress()
        self._lml_is_known = lml_is_known
        self._limit = request_limit(time_left())
        self._list = Worklist(message, worker.clock.pace())
        self._failed_in_a_row = 0
        self._refused_in_a_row = 0
        self._bare_in_a_row = 0
        self._warned: set[str] = set()
        self._result = PartResult()

    def work(self) -> PartResult:
        """Ask LML until the ids have verdicts, the run ends, or the time left gets short."""
        result = self._result
        self._measure_round_trip()
        while self._list and result.stop is None:
            if result.totals.lml_requests and self._list.doubt_ends > self._clock.pace():
                result.delay = self._list.due - self._clock.pace()  # the slot is free for other messages meanwhile
                break
            permit = self._wait()
            if permit is None:
                break
            self._send(permit)
        result.next_part = self._list.next_part(self._message, self._clock.pace(), LONGEST_DELAY * self._clock.speed)
        if result.totals.lml_requests:
            self._noted(msgspec.structs.replace(self._progress, totals=Totals()))  # the run's own will hold them
        return result

    def _measure_round_trip(self) -> None:
        """Time an empty request, which also proves address and key before any id is sent."""
        try:
            self._throttle.measure_round_trip()
        except RefreshError as error:
            if error.status in _WRONG_KEY or (error.status in _NO_ENDPOINT and not self._lml_is_known):
                self._stop(error)
        except SettingsError as error:
            self._take_missing_key(error)

    def _wait(self) -> Permit | None:
        """Wait until a slice may start; None when the run ends, or when what time is left does not cover it."""
        started = self._clock.pace()
        answer = self._throttle.acquire(
            1 if self._failed_in_a_row else self._list.next_ids,
            holding=self._list,
            limit=self._limit,
            time_left=self._time_left,
            run_goes_on=self._run_goes_on,
            not_before=self._list.due,
        )
        match answer:
            case Stopped():
                self._result.ended = True
            case OutOfTime():
                self._result.delay, self._result.why = answer.delay, answer.why
            case Permit():
                self._telemetry.metric("PacingWaitMillis", (self._clock.pace() - started) * 1000)
                return answer
        return None

    def _rest(self, rest: Rest) -> None:
        seconds = round(rest.seconds)
        self._telemetry.warning("resting", rest.in_words, seconds=seconds, reason=rest.reason)
        name = "breaker_rest_seconds" if rest.reason == "breaker" else "discogs_rest_seconds"
        self._result.totals += Totals(**{name: seconds})

    def _send(self, permit: Permit) -> None:
        ids = self._list.take(permit.ids, permit.identity)
        self._result.totals += Totals(lml_requests=1, retries=len(self._list.asked_before.intersection(ids)))
        self._list.asked_before.update(ids)
        try:
            with self._telemetry.request_span(batch_size=len(ids), timeout_ms=round(self._limit * 1000)) as span:
                try:
                    answer = self._lml.refresh(ids, limit=self._limit)
                except RefreshError as error:
                    span.failed(error.kind)
                    raise
                reading = read_answer(ids, answer.body)
                if reading.malformed:
                    span.failed("retryable_error")
        except RefreshError as error:
            calls = self._throttle.settle(permit, outcomes=None, elapsed=error.elapsed)
            self._settled(calls if error.may_have_cost else 0, error.elapsed)
            self._take_failure(ids, error)
            seen = self._failed(error)
        except SettingsError as error:
            self._list.put_back(ids)
            self._push_back(None)
            self._take_missing_key(error)
            seen = self._failed(error)
        else:
            self._take_answer(permit, ids, reading, answer.elapsed)
            seen = self._seen(reading)
        self._noted(msgspec.structs.replace(seen, totals=self._result.totals))

    def _seen(self, reading: Reading) -> Progress:
        if reading.malformed:
            return self._failed(reading.malformed)
        return Progress(answered_at=moment_text(self._clock.utc()), error=next(iter(reading.failed.values()), None))

    def _failed(self, why: object) -> Progress:
        return msgspec.structs.replace(self._progress, error=str(why))

    def _noted(self, progress: Progress) -> None:
        self._progress = progress
        self._note(progress)

    def _settled(self, calls: int, elapsed: float) -> None:
        self._telemetry.metric("LmlRequestMillis", elapsed * 1000)
        self._telemetry.metric("DiscogsCallsEstimated", calls)
        self._result.totals += Totals(discogs_calls_estimated=calls)

    def _take_answer(self, permit: Permit, ids: list[int], reading: Reading, elapsed: float) -> None:
        again = [identity for identity in ids if self._is_asked_again(identity, reading, permit)]
        calls = self._throttle.settle(
            permit,
            outcomes=None if reading.malformed else reading.outcomes,
            elapsed=elapsed,
            is_shed=bool(reading.shed),
            trial=again[0] if again else None,
        )
        self._settled(calls, elapsed)
        self._lml_is_known, self._refused_in_a_row = True, 0
        if reading.malformed:
            self._telemetry.warning("malformed_response", reading.malformed, identity_ids=list(reading.failed))
            self._push_back(None)
        else:
            self._failed_in_a_row = 0
        if calls and any(verdict.warmed_artists for verdict in reading.verdicts.values()):
            self._list.discogs_up = self._clock.pace()
            self._bare_in_a_row = 0
        for identity in ids:
            verdict = reading.verdicts.get(identity)
            if identity in again:
                self._take_shed(identity, verdict, is_trial=permit.is_trial)
            elif verdict is None:
                self._count_attempt(identity, reading.failed[identity])
            elif not (verdict.warmed_without_artists and self._doubts(identity)):
                self._take_verdict(identity, verdict)
        self._warn_of(reading)

    def _is_asked_again(self, identity: int, reading: Reading, permit: Permit) -> bool:
        """Whether LML's breaker has kept something of this identity, and it has not been asked too often for it."""
        if identity not in reading.shed:
            return False
        verdict = reading.verdicts.get(identity)
        if verdict is None:
            return True
        asked = self._list.artists_shed.get(identity, 0) + 1
        return verdict.status == "warmed" and (permit.is_trial or asked < self._max_attempts)

    def _take_shed(self, identity: int, verdict: Verdict | None, *, is_trial: bool) -> None:
        if verdict is None:
            self._list.put_back([identity])
            return
        if not is_trial:
            self._list.artists_shed[identity] = self._list.artists_shed.get(identity, 0) + 1
        self._list.ask_again(identity)

    def _take_verdict(self, identity: int, verdict: Verdict) -> None:
        self._result.totals += verdict.totals
        if verdict.status == "not_found":
            self._result.not_found.append(identity)
        if verdict.warmed_without_artists:
            self._result.without_artists.append(identity)

    def _doubts(self, identity: int) -> bool:
        """Ask an id again later that LML calls warmed without any artist; False once Discogs was up and it stays so.

        LML tells a tombstone so, and every failure of Discogs (docs/decisions/an-answer-in-doubt.md).
        """
        now, since = self._clock.pace(), self._list.in_doubt.get(identity)
        self._bare_in_a_row += 1
        unproven = since is not None and self._list.discogs_up < since
        if unproven or self._bare_in_a_row == ASKED_AT:
            if self._throttle.finds_discogs_down():
                since = None
            else:
                self._list.discogs_up = now
        if since is not None:
            return False
        self._list.doubt(identity, now)
        return True

    def _warn_of(self, reading: Reading) -> None:
        for status in reading.unknown_statuses - self._warned:
            self._warned.add(status)
            self._telemetry.warning("unknown_status", "LML sent a status that this job does not know", status=status)
        if reading.ignored and "ignored" not in self._warned:
            self._warned.add("ignored")
            self._telemetry.warning(
                "malformed_response", "LML answered for ids that were not asked for, or twice", results=reading.ignored
            )

    def _take_failure(self, ids: list[int], error: RefreshError) -> None:
        self._telemetry.warning(
            "slice_error", str(error), identity_ids=ids, kind=error.kind, cause=error.cause, status=error.status
        )
        no_endpoint = error.status in _NO_ENDPOINT
        refused = no_endpoint or error.is_latched
        self._refused_in_a_row = self._refused_in_a_row + 1 if refused else 0
        if (
            error.status in _WRONG_KEY
            or (no_endpoint and not self._lml_is_known)
            or (refused and self._refused_in_a_row >= STAYS_SO)
        ):
            self._list.put_back(ids)
            self._stop(error)
        elif error.kind == "permanent_error" and not no_endpoint:
            for identity in ids:
                self._give_up(identity, str(error))
            self._result.rejected.append(error)
        else:
            for identity in ids if error.counts_as_attempt else ():
                self._count_attempt(identity, str(error))
            if not error.counts_as_attempt:
                self._list.put_back(ids)
            self._push_back(error.retry_after)

    def _take_missing_key(self, error: SettingsError) -> None:
        """Stop the run where LML's key is gone: every other delivery would fail as well, until all are dead letters."""
        self._telemetry.warning("slice_error", str(error))
        if not error.may_pass:
            self._result.ended, self._result.stop = True, Stop("lml_key", str(error))

    def _count_attempt(self, identity: int, reason: str) -> None:
        """Put an id behind all fresh ones, or give it up after its last attempt."""
        self._list.failures[identity] += 1
        if self._list.failures[identity] >= self._max_attempts:
            self._give_up(identity, reason)
        else:
            self._list.ask_again(identity)

    def _give_up(self, identity: int, reason: str) -> None:
        self._result.totals += errors(1)
        self._result.failed[identity] = reason[:120]

    def _push_back(self, retry_after: float | None) -> None:
        self._failed_in_a_row += 1
        self._list.not_before = self._clock.pace() + self._throttle.back_off(self._failed_in_a_row, retry_after)

    def _stop(self, error: RefreshError) -> None:
        advice = "; LML says so until it is started again" if error.is_latched else ""
        self._result.ended, self._result.stop = True, Stop(f"lml_{error.status}", f"{error}{advice}")
