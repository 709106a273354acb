"""Which ids of a run are still open: what a replay asks for."""

from core.runs.ledger import Ledger, Run
from core.runs.request import StartError


def still_open(ledger: Ledger, run_id: str, *, asker: str | None = None, without_artists: bool = False) -> list[int]:
    """Return the ids of an ended run that failed or were not attempted, and that no replay of it has resolved since.

    With `without_artists` those too whose release came without any artist. Ids that a replay is still at work on are
    left out; `asker` is the replay that asks, which counts for nothing.
    Ascending; raises `StartError` where there are none.
    """
    run = ledger.runs.read(run_id)
    if run is None:
        raise StartError(
            f"replay_of: run {run_id} is not in the ledger, which keeps runs for 30 days: `rotation list` shows them"
        )
    if run.closed_at is None:
        raise StartError(
            f"replay_of: run {run_id} is {run.status}; it can be replayed when it has ended: "
            f"`rotation status {run_id} --follow` waits for that"
        )
    left = _left(ledger, run, without_artists)
    if not left:
        raise StartError(f"replay_of: run {run_id} ({run.status}) left nothing to replay: nothing is to be done")
    replays = [replay for replay in _replays(ledger, run) if replay.run_id != asker]
    ids = left.difference(*(_taken(ledger, replay, without_artists) for replay in replays))
    if not ids:
        names = ", ".join(f"{replay.run_id} ({replay.status})" for replay in replays)
        raise StartError(
            f"replay_of: run {run_id} left nothing to replay: all was asked for again by {names}; nothing is to be done"
        )
    return sorted(ids)


def _left(ledger: Ledger, run: Run, without_artists: bool) -> set[int]:
    """The ids of a run that has ended which failed or were not attempted in it, or came without artists."""
    ids: set[int] = set()
    for message in ledger.messages.all(run.run_id, run.messages_planned):
        ids.update(message.failed, message.not_attempted, message.left.identity_ids if message.left else ())
        ids.update(message.without_artists if without_artists else ())
    return ids


def _replays(ledger: Ledger, run: Run) -> list[Run]:
    return [replay for replay in map(ledger.runs.read, ledger.runs.replays_of(run.run_id)) if replay is not None]


def _taken(ledger: Ledger, replay: Run, without_artists: bool) -> set[int]:
    """The ids of a replay that need not be asked for: it, or a replay of it, has resolved them or works on them."""
    messages = list(ledger.messages.all(replay.run_id, replay.messages_planned))
    asked = {identity for message in messages for identity in message.planned}
    if replay.closed_at is None:
        return asked.difference(*(message.failed for message in messages), *(it.not_attempted for it in messages))
    left = _left(ledger, replay, without_artists)
    return (asked - left).union(*(_taken(ledger, again, without_artists) & left for again in _replays(ledger, replay)))
