"""What a part has come to so far, noted after each request to LML for people who watch; no account rests on it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from core.clock import Clock
from core.lml.answer import read_answer
from core.lml.client import Answer, LmlError
from core.runs.ledger import Progress
from core.runs.totals import Totals
from core.utc import moment_text

if TYPE_CHECKING:
    from core.refresh.worker import Upstream


class ObservedLml:
    """LML as a part asks it; after each request `note` gets what is known of the part.

    An identity counts once, when LML has given its verdict and kept nothing of it for its breaker's sake.
    """

    def __init__(self, lml: "Upstream", clock: Clock, note: Callable[[Progress], None]) -> None:
        self._lml = lml
        self._clock = clock
        self._note = note
        self._verdicts: dict[int, Totals] = {}
        self._seen = Progress()

    def refresh(self, ids: Sequence[int], *, limit: float) -> Answer:
        try:
            answer = self._lml.refresh(ids, limit=limit)
        except LmlError as error:
            self._noted(error=str(error))
            raise
        reading = read_answer(ids, answer.body)
        verdicts = reading.verdicts.items()
        self._verdicts |= {identity: it.totals for identity, it in verdicts if identity not in reading.shed}
        if reading.malformed:
            self._noted(error=reading.malformed)
        else:
            self._noted(error=next(iter(reading.failed.values()), None), answered_at=moment_text(self._clock.utc()))
        return answer

    def hand_over(self) -> None:
        """Note that the run's own totals will hold what was counted here."""
        if self._seen != Progress():
            self._verdicts.clear()
            self._seen = msgspec.structs.replace(self._seen, totals=Totals())
            self._note(self._seen)

    def _noted(self, *, error: str | None, answered_at: str | None = None) -> None:
        self._seen = msgspec.structs.replace(
            self._seen,
            totals=sum(self._verdicts.values(), Totals()),
            answered_at=answered_at or self._seen.answered_at,
            error=error,
        )
        self._note(self._seen)
