"""A dead refresh message: what was never finished is committed as failed, so that its run can close."""

from typing import Final

from core.runs.ledger import Commit
from core.runs.messages import ClaimedError, Consumer, Delivery
from core.runs.plan import MalformedMessageError, decode
from core.runs.totals import errors

_DEAD: Final = "received 5 times and never finished"


class DeadLetterConsumer(Consumer, frozen=True):
    """The dead-letter function: commits what was never finished as `lml_error`, so that its run can close."""

    def handle(self, delivery: Delivery) -> None:
        """Account for one dead letter; raises `ClaimedError` while an invocation is still at it."""
        try:
            message = decode(delivery.body)
        except MalformedMessageError as error:
            return self.store.park(delivery, str(error))
        self.telemetry.bind(run_id=message.run_id)
        self.telemetry.metric("DeadLettered", 1)
        self.telemetry.error("slice_error", f"dead letter: {_DEAD}", body=delivery.body)
        if message.run_id is None or (located := self.store.locate(delivery, message)) is None:
            return None
        run, item, left = located.run, located.item, located.left
        if item.is_claimed(self.clock.utc(), by_other_than=delivery.request_id):
            raise ClaimedError(
                f"an invocation is still at message {item.number} part {item.next_part} of {run.run_id}; the message "
                "comes again by itself"
            )
        commit = Commit(
            message=item,
            request_id=delivery.request_id,
            totals=errors(len(left.identity_ids)),
            failed=dict.fromkeys(left.identity_ids, f"dead letter: {_DEAD}"),
        )
        self.store.commit(run, commit)
        return self.close_if_done(run.run_id)
