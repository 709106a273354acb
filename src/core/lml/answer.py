"""Counts an answer of LML by the rules of docs/design/counting.md. Pure; takes any JSON."""

from collections.abc import Iterator, Sequence
from typing import Final, cast

import msgspec

from core.runs.totals import UNWARMED, LmlStatus, Totals, resolved


class Verdict(msgspec.Struct, frozen=True):
    """What LML decided about one identity, with the warmed and failed things under its sources."""

    status: LmlStatus
    warmed_releases: int = 0
    warmed_artists: int = 0
    warmed_without_artists: int = 0
    """Releases of a success without any artist: a tombstone, or a Discogs that LML could not reach."""
    artist_errors: int = 0

    @property
    def totals(self) -> Totals:
        """This identity's share of the totals."""
        return resolved(
            self.status,
            warmed_releases=self.warmed_releases,
            warmed_artists=self.warmed_artists,
            warmed_without_artists=self.warmed_without_artists,
            artist_errors=self.artist_errors,
        )


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, read: each asked id is in `verdicts` or in `failed`, never in both."""

    verdicts: dict[int, Verdict]
    failed: dict[int, str]
    """Id to reason, for ids that are tried again."""
    shed: frozenset[int]
    """Ids under which LML's breaker turned something away, if only an artist; with a verdict or without one."""
    outcomes: int
    """Release and artist outcomes that LML lists: the most Discogs calls that these ids can have cost."""
    malformed: str | None
    """Why the answer counts as a failed request for the ids in `failed`; None for a sound answer."""
    unknown_statuses: frozenset[str]
    ignored: int
    """Results for an id that was not asked for, or a second one for the same id."""


_SHOWN: Final = 120  # characters of what LML says of an id
_SHED: Final = "DiscogsBreakerOpenError"
"""LML's word for what its breaker has turned away: at the result, at its source, or at one of its artists."""


def read_answer(asked: Sequence[int], body: object) -> Reading:
    """Sort `asked` ids by their results in `body`, the decoded JSON of a 200; never raises."""
    items, malformed = _results(body)
    wanted = set(asked)
    verdicts: dict[int, Verdict] = {}
    failed: dict[int, str] = {}
    shed: set[int] = set()
    outcomes = ignored = 0
    unknown: set[str] = set()
    for item in items:
        if not isinstance(item, dict):
            malformed = "a result is no object"
            continue
        identity, status = item.get("identity_id"), item.get("status")
        if type(identity) is not int or identity not in wanted:
            ignored += 1
            continue
        wanted.remove(identity)
        sources = dict(_sources(item))
        messages = _messages(item)
        messages += [message for source in sources.values() for message in source.messages]
        of_artists = [message for source in sources.values() for message in source.of_artists]
        if any(_SHED in message for message in messages + of_artists):
            shed.add(identity)
        if status == "not_implemented" and "discogs_release" in sources and sources["discogs_release"].failed:
            status = "error"  # the source that is not wired hides it
        if status == "warmed":
            verdicts[identity] = Verdict(
                "warmed",
                warmed_releases=sum(source.releases for source in sources.values()),
                warmed_artists=sum(source.artists for source in sources.values()),
                warmed_without_artists=sum(source.is_bare for source in sources.values()),
                artist_errors=sum(source.artist_errors for source in sources.values()),
            )
        elif status in UNWARMED:
            verdicts[identity] = Verdict(cast("LmlStatus", status))
        else:
            failed[identity] = _reason(status, messages + of_artists)
            if status != "error":
                unknown.add(_line(status))
        outcomes += 0 if status == "not_implemented" else sum(source.outcomes for source in sources.values())
    failed |= {identity: malformed or "no result" for identity in asked if identity in wanted}
    return Reading(
        verdicts=verdicts,
        failed=failed,
        shed=frozenset(shed),
        outcomes=outcomes,
        malformed=malformed if wanted else None,
        unknown_statuses=frozenset(unknown),
        ignored=ignored,
    )


class _Source(msgspec.Struct, frozen=True):
    releases: int
    failed: bool
    is_bare: bool
    """A release of a success without any artist."""
    artists: int
    artist_errors: int
    outcomes: int
    """What may have cost a Discogs call: what the breaker turned away did not."""
    messages: list[str]
    of_artists: list[str]
    """What LML says of them in words."""


def _results(body: object) -> tuple[list[object], str | None]:
    results = body.get("results") if isinstance(body, dict) else None
    if isinstance(results, list):
        return results, None
    return [], "the body has no list of results"


def _sources(item: dict[str, object]) -> Iterator[tuple[str, _Source]]:
    """The sources of one result by name; null and anything that is no object are passed over."""
    sources = item.get("sources")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if not isinstance(source, dict):
            continue
        release, artists = source.get("release_outcome"), source.get("artists")
        artists = [artist for artist in (artists if isinstance(artists, list) else ()) if isinstance(artist, dict)]
        by_artist = [artist.get("outcome") for artist in artists]
        warmed = by_artist.count("success")
        of_release, of_artists = _messages(source), _messages(*artists)
        listed = int(release not in (None, "not_implemented")) + len(by_artist) - by_artist.count("not_implemented")
        turned_away = sum(_SHED in message for message in of_release[:1] + of_artists)
        yield (
            name,
            _Source(
                releases=int(release == "success"),
                failed=release == "error",
                is_bare=release == "success" and not artists,
                artists=warmed,
                artist_errors=len(by_artist) - warmed,
                outcomes=max(0, listed - turned_away),
                messages=of_release,
                of_artists=of_artists,
            ),
        )


def _messages(*items: dict[str, object]) -> list[str]:
    """Return the messages of a result, of a source, or of some artists."""
    messages = (item.get("message") for item in items)
    return [message for message in messages if isinstance(message, str) and message]


def _reason(status: object, messages: Sequence[str]) -> str:
    """Why an id failed, short enough for the ledger: LML's status and, if it sent any, its first message."""
    return f"{_line(status)}: {_line(messages[0])}"[:_SHOWN] if messages else _line(status)


def _line(value: object) -> str:
    """A text of LML's as log and ledger can hold it, short and on one line; anything else by its type."""
    text = value if isinstance(value, str) else type(value).__name__
    return "".join(c if c.isprintable() else " " for c in text[:_SHOWN]) or "an empty text"
