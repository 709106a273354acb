"""A run at one moment, as `rotation status` and the run's page show it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from core.budget.pacing import DEAREST_COST, MINUTE, Pace
from core.clock import Clock, SystemClock
from core.runs.ledger import Message, Run
from core.utc import moment_text
from ops.beside import Beside, beside
from ops.target import Target
from ops.watch import View, look, summary

LetterKind = Literal["parked", "dead", "start"]
LETTER_QUEUES: Final[dict[LetterKind, str]] = {
    "parked": "ParkedQueue",
    "dead": "DeadLetterQueue",
    "start": "FanOutFailureQueue",
}
"""Where messages and starts wait for a person, by the template's logical id."""
REASONS_SHOWN: Final = 5
_HEADLINES: Final[dict[str, str]] = {
    "refused": "The run was refused, and nothing was sent",
    "failed": "The run could not be planned, and nothing was sent",
    "planning": "The run is being planned",
    "stopping": "The run is being stopped",
    "stopped": "The run ended early",
}
_COUNTS: Final = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


class Step(msgspec.Struct, frozen=True):
    """What a person does now: a sentence, and the command where there is one."""

    text: str
    command: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A run, the pace, and what waits for a person; `unknown` holds, by source, why it could not be read."""

    at: str
    """When it was taken, in UTC."""
    view: View
    messages: Sequence[Message]
    pace: Pace
    budget: int
    """Discogs calls a minute that all slots together may make, on the run's own clock."""
    speed: float
    """Seconds of the run's own clock in a wall second: 1 but for a demo."""
    letters: Mapping[str, int] | None = None
    """Messages and starts that wait for a person, by kind."""
    beside: Beside | None = None
    options: str = ""
    """What a command needs to talk to the run's cloud."""
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        return self.view.run

    @property
    def slots(self) -> int:
        """How many messages are worked on now."""
        now = datetime.fromisoformat(self.at)
        return sum(message.is_claimed(now, by_other_than="") for message in self.messages) if self.run.is_open else 0

    @property
    def failed(self) -> dict[int, str]:
        """Id to reason, for every lml_error that is committed."""
        return dict(sorted((identity, why) for message in self.messages for identity, why in message.failed.items()))

    @property
    def stale(self) -> list[int]:
        """The ids that LML does not know."""
        return sorted(identity for message in self.messages for identity in message.not_found)

    @property
    def reasons(self) -> list[tuple[str, list[int]]]:
        """Why ids failed and which, the most frequent reason first."""
        found: dict[str, list[int]] = {}
        for identity, why in self.failed.items():
            found.setdefault(why, []).append(identity)
        return sorted(found.items(), key=lambda item: -len(item[1]))

    @property
    def waiting(self) -> int:
        """How many messages and starts wait for a person, as far as is known."""
        return sum((self.letters or {}).values())

    @property
    def seconds(self) -> float:
        """Wall seconds from the start to the end, or to now."""
        run = self.run
        if run.closed_at is not None:
            return run.seconds
        began = datetime.fromisoformat(run.started_at)
        return max(0.0, (datetime.fromisoformat(self.at) - began).total_seconds())

    @property
    def calls_a_minute(self) -> float | None:
        """Discogs calls a minute of the run's own clock, on average: an estimate. None before there is a call.

        A call is paid for by the wait behind it, so that what is still owed counts as time.
        """
        end = datetime.fromisoformat(self.run.started_at).timestamp() + self.seconds
        most = 2 * DEAREST_COST * MINUTE / self.budget  # two slots, the dearest identity each
        owed = min(most, max(0.0, self.pace.next_start - end * self.speed))
        minutes = (self.seconds * self.speed + owed) / MINUTE
        calls = self.view.totals.discogs_calls_estimated
        return calls / minutes if calls and minutes else None

    @property
    def breaker(self) -> str | None:
        """LML's breaker in the words of its `/health`; None where it is not known.

        A run knows it from the sheds that it has met: to ask LML would cost a call.
        """
        if self.beside is not None:
            return self.beside.breaker
        words = {"trial": "open", "breaker": "closed"}
        return words.get(self.pace.rest or "") if self.run.is_open else None

    @property
    def discogs(self) -> str | None:
        """The state of Discogs in LML's `/health` while it is down."""
        return self.pace.word or None if self.run.is_open else None

    @property
    def level(self) -> Literal["well", "watch", "act"]:
        """`well`, something to `watch`, or something for a person to do (`act`)."""
        run = self.run
        if run.status in {"refused", "failed", "stopped"} or run.is_unreported or self.waiting:
            return "act"
        if run.closed_at is not None:
            return "act" if run.totals.lml_error or run.totals.not_attempted else "well"
        in_trouble = self.view.trouble or self.view.rests or run.status == "stopping" or self.view.totals.lml_error
        return "watch" if in_trouble else "well"

    @property
    def headline(self) -> str:
        """The state in one sentence."""
        run, view = self.run, self.view
        if run.status in _HEADLINES:
            return _HEADLINES[run.status]
        if run.is_open and view.trouble:
            return "LML fails"
        if run.is_open and view.rests:
            return "The run rests"
        goes = "goes on" if run.is_open else "is complete"
        return f"The run {goes}, with failures" if view.totals.lml_error else f"All is well: the run {goes}"

    @property
    def todo(self) -> list[Step]:
        """What to do now, the most urgent first; never empty."""
        steps = list(self._todo())
        if self.waiting:
            are = "message or start waits" if self.waiting == 1 else "messages or starts wait"
            steps.append(Step(f"{self.waiting} {are} for a person.", f"rotation dead-letters{self.options}"))
        return steps or [Step("Nothing.")]

    def _todo(self) -> Iterator[Step]:
        run, totals = self.run, self.view.totals
        named = f"{run.run_id}{self.options}"
        if run.status == "refused":
            yield Step("Nothing was sent. Put right what is named, then start it again.", f"rotation run{self.options}")
        elif run.status == "failed":
            yield Step("It could not be planned. The log says why.", f"rotation logs {named} --level error")
            yield Step("Then start it again.", f"rotation run{self.options}")
        elif run.is_unreported:
            yield Step("It ended, and its totals are not reported yet. This has that done.", f"rotation stop {named}")
        elif run.status == "planning":
            yield Step("Nothing: the plan is being made. If that takes minutes, end it.", f"rotation stop {named}")
        elif run.status == "stopping":
            yield Step("Nothing: LML is asked no more, and what it works on still counts.")
        elif self.view.trouble:
            text = "See that LML is up. The run goes on by itself once LML answers; if LML stays away, end it."
            yield Step(text, f"rotation stop {named}")
        elif self.view.rests:
            yield Step("Nothing: the run rests, and goes on by itself.")
        elif run.is_open:
            yield Step("Nothing: the run goes on by itself.")
        if totals.lml_error or totals.not_attempted:
            counts = {"failed": totals.lml_error, "not attempted": totals.not_attempted}
            ids = ((what, f"{count:,} id{'' if count == 1 else 's'}") for what, count in counts.items() if count)
            which = ", ".join(f"{them} {what}" for what, them in ids)
            first = "Once the run has ended, this" if run.is_open else "Remove the reason; then this"
            this = first if run.is_open or run.reason else "This"
            yield Step(f"{which}. {this} asks again for those that are still open.", f"rotation replay {named}")

    def data(self) -> dict[str, object]:
        """Return what `rotation status --json` prints."""
        run, view = self.run, self.view
        left = None if view.seconds_left is None else round(view.seconds_left)
        calls = self.calls_a_minute
        return {
            **summary(run),
            **msgspec.structs.asdict(view.totals),
            "at": self.at,
            "seconds_left": left,
            "rests": view.rests,
            "verdicts": view.scanned,
            "trouble": view.trouble,
            "failures": {why: len(ids) for why, ids in self.reasons[:REASONS_SHOWN]},
            "failed": list(self.failed),
            "level": self.level,
            "headline": self.headline,
            "todo": msgspec.to_builtins(self.todo),
            "slots": self.slots,
            "budget": self.budget,
            "calls_a_minute": None if calls is None else round(calls, 1),
            "clock_speed": self.speed,
            "letters": self.letters,
            "breaker": self.breaker,
            "discogs": self.discogs,
            "beside": msgspec.to_builtins(self.beside),
            "unknown": dict(self.unknown),
        }


def take(target: Target, run: Run) -> Snapshot:
    """Look at a run; raises ClientError or BotoCoreError where the ledger does not answer."""
    ledger, limits = target.ledger, target.refresh_settings()
    clock = SystemClock(limits.clock_speed)
    pace, _ = ledger.pace.read_pace()
    unknown: dict[str, str] = {}
    letters, others = None, None
    try:
        letters = _letters(target)
    except (ClientError, BotoCoreError) as error:
        unknown["letters"] = str(error)
    try:
        others = _beside(target, run, clock)
    except OSError as error:
        unknown["beside"] = str(error)
    return Snapshot(
        at=moment_text(clock.utc()),
        view=look(run, pace, clock, ledger.progress.all(run.run_id)),
        messages=list(ledger.messages.all(run.run_id, run.messages_planned)),
        pace=pace,
        budget=limits.pacing.budget,
        speed=limits.clock_speed,
        letters=letters,
        beside=others,
        options=target.options,
        unknown=unknown,
    )


def _letters(target: Target) -> dict[str, int]:
    sqs = target.client("sqs")
    found: dict[str, int] = {}
    for kind, queue in LETTER_QUEUES.items():
        answer = sqs.get_queue_attributes(QueueUrl=target.names[queue], AttributeNames=list(_COUNTS))
        found[kind] = sum(int(answer["Attributes"][name]) for name in _COUNTS)
    return found


def _beside(target: Target, run: Run, clock: Clock) -> Beside | None:
    """Ask the stand-in what it saw from the run's start to its end."""
    if target.stand_in is None:
        return None
    since, until = (
        None if text is None else datetime.fromisoformat(text).timestamp() * clock.speed
        for text in (run.started_at, run.closed_at)
    )
    return beside(target.stand_in, since or 0.0, float("inf") if until is None else until)
