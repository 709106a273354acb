"""One delivery of a refresh message: located in the ledger, worked on, committed once, handed on."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial

import msgspec

from core.aws.queues import Headers
from core.refresh.result import PartResult
from core.refresh.worker import Part, Worker
from core.runs.ledger import Commit, Run
from core.runs.messages import Consumer, Delivery, Located
from core.runs.plan import MAX_PARTS, MAX_PARTS_BY_HAND, MalformedMessageError, RefreshMessage, decode, encode
from core.runs.totals import Totals


class RefreshConsumer(Consumer, frozen=True):
    """The refresh function: works on what a delivery asks for."""

    worker: Worker

    def handle(self, delivery: Delivery, time_left: Callable[[], float]) -> None:
        """Work on a delivery while there is `time_left` (wall seconds); raises `ClaimedError` when another is at it."""
        try:
            message = decode(delivery.body)
        except MalformedMessageError as error:
            return self.store.park(delivery, str(error))
        self.telemetry.bind(run_id=message.run_id)
        if message.run_id is None:
            return self._replay_by_hand(delivery, message, time_left)
        if (located := self.store.locate(delivery, message)) is None:
            return None
        run, left = located.run, located.left
        now = self.clock.utc()
        self.store.claim(located, delivery.request_id, now, now + timedelta(seconds=time_left()))
        with self._span(run.headers, delivery, left):
            if run.goes_on and not self._is_late(run):
                result = self._part(run, left, time_left).work()
            else:
                result = PartResult(next_part=left, ended=True)  # LML is not called at all
            return self._conclude(delivery, located, result)

    def _part(self, run: Run, left: RefreshMessage, time_left: Callable[[], float]) -> Part:
        def run_goes_on() -> bool:
            now = self.runs.read(run.run_id)
            return now is not None and now.goes_on and not self._is_late(run)

        return self.worker.part(
            left,
            time_left=self._paced(time_left),
            run_goes_on=run_goes_on,
            note=partial(self.store.note, run.run_id, left.message),
            lml_is_known=run.totals.identities_scanned > 0,
        )

    def _conclude(self, delivery: Delivery, located: Located, result: PartResult) -> None:
        lifecycle, run, left = self.lifecycle, located.run, located.left
        if result.stop is not None:
            lifecycle.stop(run.run_id, result.stop.cause, result.stop.reason)
        elif result.ended and self._is_late(run):
            lifecycle.stop(
                run.run_id,
                "deadline",
                "; ".join(["the run is past its deadline", *(run.totals + result.totals).rested]),
            )
        for error in result.rejected:
            lifecycle.report_once(run.run_id, f"lml_{error.status}", str(error))
        goes_on = result.next_part is not None and not result.ended and left.part + 1 < MAX_PARTS
        given_up = () if goes_on or result.next_part is None else result.next_part.identity_ids
        commit = Commit(
            message=located.item,
            request_id=delivery.request_id,
            totals=result.totals + Totals(not_attempted=len(given_up)),
            left=result.next_part if goes_on else None,
            not_found=tuple(result.not_found),
            without_artists=tuple(result.without_artists),
            not_attempted=given_up,
            failed=result.failed,
        )
        if self.store.commit(run, commit):
            if commit.left is not None:
                delay = math.ceil(self.clock.wall(result.delay))
                self.store.hand_on(run, located.item.number, commit.left, delay=delay, why=result.why)
            lifecycle.renew_lock(run.run_id)
        self.close_if_done(run.run_id)

    def _replay_by_hand(self, delivery: Delivery, message: RefreshMessage, time_left: Callable[[], float]) -> None:
        """Work on a message without a run: nothing goes into the ledger, its totals are reported part by part."""
        telemetry = self.telemetry
        with self._span(delivery.headers, delivery, message):
            result = self.worker.part(message, time_left=self._paced(time_left), run_goes_on=lambda: True).work()
        rest = result.next_part
        goes_on = rest is not None and not result.ended and message.part + 1 < MAX_PARTS_BY_HAND
        given_up = 0 if goes_on or rest is None else len(rest.identity_ids)
        totals = msgspec.structs.asdict(result.totals + Totals(not_attempted=given_up))
        telemetry.report_totals(
            delivery.headers,
            run_id=None,
            trigger="manual",
            dry_run=False,
            totals=totals,
            run_seconds=None,
            completed=rest is None and not result.totals.all_failed,
        )
        telemetry.info("done", "replay by hand", part=message.part, failed=result.failed, **totals)
        if rest is not None and goes_on:
            delay = math.ceil(self.clock.wall(result.delay))
            self.store.send(delivery.headers, rest, delay=delay, why=result.why)
        elif rest is not None:
            reason = result.stop.reason if result.stop else f"a replay by hand has {MAX_PARTS_BY_HAND} parts at most"
            rest = msgspec.structs.replace(rest, part=0)  # a redrive has ten parts again
            self.store.park(msgspec.structs.replace(delivery, body=encode(rest)), reason)

    def _span(self, headers: Headers, delivery: Delivery, message: RefreshMessage) -> AbstractContextManager[None]:
        return self.telemetry.message_span(
            headers,
            run_id=message.run_id,
            message=message.message,
            part=message.part,
            ids=len(message.identity_ids),
            receive_count=delivery.receive_count,
        )

    def _paced(self, time_left: Callable[[], float]) -> Callable[[], float]:
        return lambda: time_left() * self.clock.speed

    def _is_late(self, run: Run) -> bool:
        return self.clock.utc().timestamp() >= run.deadline
