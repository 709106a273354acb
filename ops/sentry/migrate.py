"""From the old job's attributes to this one's: which objects of Sentry use them, the new names, and the undo."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ops.sentry.api import Api, Path, SentryObject
from ops.sentry.changes import KEYS, Change, ChangedMeanwhileError, steady
from ops.target import OperatorError

SUCCESSORS: Final = {
    "backfill.releases_scanned": "backfill.identities_scanned",
    "backfill.releases_ok": "backfill.warmed_releases",
    "backfill.releases_not_found": "backfill.not_found",
    "backfill.releases_error": "backfill.lml_error",
    "backfill.artists_ok": "backfill.warmed_artists",
}
NO_SUCCESSOR: Final = {
    "backfill.artists_planned": "artists are LML's affair now: nobody plans them",
    "backfill.artists_attempted": "LML does not tell how many it tried",
    "backfill.artists_not_found": "LML counts them with its other artist errors",
    "backfill.artists_error": "only in the ledger and the log, as artist_errors",
}
COLLECTIONS: Final[tuple[Path, ...]] = ("dashboards", "discover/saved", "explore/saved", "alert-rules")
"""Dashboards first, since people look at them during the change of jobs."""
_OLD: Final = re.compile(r"backfill\.(?:releases|artists)_\w+")
_SPAN_NAME: Final = re.compile(r'\b(span\.description|span\.name|transaction):"?rotation-artist-backfill\.totals\b"?')
_SPAN_OP: Final = re.compile(r'\bspan\.op:"?job\.tally\b"?')


@dataclass(frozen=True, slots=True)
class Use:
    """An object that uses old attributes: what is rewritten in it, and what a person has to look at."""

    change: Change
    rewritten: list[str]
    by_hand: list[str]


class Kept(msgspec.Struct, frozen=True):
    """An object in the file of a migration."""

    path: Path
    name: str
    before: dict[str, Any]
    after: dict[str, Any]


def inventory(sentry: Api) -> list[Use]:
    """Return every saved query, alert rule and dashboard that uses the old attributes, or looks for the old span."""
    uses = []
    for path in COLLECTIONS:
        for listed in sentry.in_full(path):
            if _use(path, listed) is not None:
                found = sentry.read(path, str(listed["id"]))  # what a later look is held against
                uses.append(_use(path, found))
    return [use for use in uses if use is not None]


def kept(uses: list[Use]) -> bytes:
    """Return the file for `--undo`."""
    changes = [use.change for use in uses if use.rewritten]
    return msgspec.json.format(
        msgspec.json.encode([Kept(it.path, it.name, it.before or {}, it.after) for it in changes])
    )


def way_back(sentry: Api, file: bytes) -> list[Change]:
    """Return the changes that undo a migration; raises OperatorError, with nothing written, if that cannot be."""
    try:
        saved = [(it, str(it.before[KEYS.get(it.path, "id")])) for it in msgspec.json.decode(file, type=list[Kept])]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        raise OperatorError(
            "that is no file of a migration, and nothing was put back: name the one that `rotation sentry migrate "
            "--apply` saved under .local"
        ) from None
    changes = []
    for it, key in saved:
        now = sentry.read(it.path, key)
        if steady(now) == steady(it.before):
            continue
        if steady(now) != steady(it.after):
            raise ChangedMeanwhileError(
                f"{it.path} {it.name!r} was changed since the migration; nothing was put back: put it back by hand, "
                "the file has how it was"
            )
        changes.append(Change(path=it.path, name=it.name, before=now, after=it.before))
    return changes


def rewrite(text: str) -> tuple[str, list[str]]:
    """Return a text with new names, and the old names that have no successor: a text with one of those stays as it is.

    A formula of old and new names would mean something else without looking like it.
    """
    lost = sorted({name for name in _OLD.findall(text) if name not in SUCCESSORS})
    if lost:
        return text, lost
    text = _OLD.sub(lambda found: SUCCESSORS[found[0]], text)
    text = _SPAN_NAME.sub(r"\1:rotation-artist-backfill.run.totals", text)
    return _SPAN_OP.sub("span.op:rotation-artist-backfill.totals", text), []


def _use(path: Path, found: SentryObject) -> Use | None:
    rewritten, by_hand = list[str](), list[str]()

    def walked(node: Any, where: str) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(node, dict):
            return {name: walked(value, f"{where}.{name}" if where else name) for name, value in node.items()}
        if isinstance(node, list):
            return [walked(value, f"{where}[{number}]") for number, value in enumerate(node)]
        if not isinstance(node, str):
            return node
        text, lost = rewrite(node)
        if text != node:
            rewritten.append(f"{where}: {node} becomes {text}")
        by_hand.extend(f"{where}: {name}: {why(name)}" for name in lost)
        return text

    change = Change(path=path, name=_name(found), before=found, after=walked(found, ""))
    return Use(change, rewritten, by_hand) if rewritten or by_hand else None


def why(name: str) -> str:
    """Return why an old attribute has no successor."""
    return NO_SUCCESSOR.get(name, "not an attribute that the old job wrote")


def lines(uses: list[Use]) -> Iterator[str]:
    """Yield what was found, object by object."""
    for use in uses:
        yield f"{use.change.path} {use.change.name!r}"
        yield from (f"  {line}" for line in use.rewritten)
        yield from (f"  by hand: {line}" for line in use.by_hand)


def _name(found: SentryObject) -> str:
    return str(found.get("title") or found.get("name") or found.get("id"))
