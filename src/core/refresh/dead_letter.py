"""A dead refresh message: what was never finished is committed as failed, so that its run can close."""

from typing import Final

import msgspec

from core.runs.ledger import Commit
from core.runs.messages import ClaimedError, Delivery, Desk
from core.runs.plan import MalformedMessageError, decode
from core.runs.totals import Totals

_DEAD: Final = "received 5 times and never finished"


class Undertaker(msgspec.Struct, frozen=True):
    """The dead-letter function: commits what was never finished as `lml_error`, so that its run can close."""

    desk: Desk

    def bury(self, delivery: Delivery) -> None:
        """Account for one dead letter; raises `ClaimedError` while an invocation is still at it."""
        keeper = self.desk.keeper
        try:
            message = decode(delivery.body)
        except MalformedMessageError as error:
            return self.desk.park(delivery, str(error))
        keeper.telemetry.bind(run_id=message.run_id)
        keeper.telemetry.metric("DeadLettered", 1)
        keeper.telemetry.error("slice_error", f"dead letter: {_DEAD}", body=delivery.body)
        if message.run_id is None or (located := self.desk.locate(delivery, message)) is None:
            return None
        run, item, left = located.run, located.item, located.left
        if item.is_claimed(keeper.clock.utc(), by_other_than=delivery.request_id):
            raise ClaimedError(f"an invocation is still at message {item.number} part {item.next_part} of {run.run_id}")
        count = len(left.identity_ids)
        commit = Commit(
            message=item,
            request_id=delivery.request_id,
            totals=Totals(identities_scanned=count, lml_error=count),
            failed=dict.fromkeys(left.identity_ids, f"dead letter: {_DEAD}"),
        )
        self.desk.commit(run, commit)
        return keeper.look_after(run.run_id)
