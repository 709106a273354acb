"""Checks of the options of `rotation loadtest`, before the first day begins."""

import os
import re
import tempfile
from pathlib import Path
from typing import Final

import click

from core import settings
from core.clock import SystemClock
from core.lml.client import RefreshClient, RefreshError
from core.settings import SettingsError, SettingsReader
from ops.target import OperatorError, no_secret

SHARED_MINUTE: Final = (
    "Staging's LML uses production's Discogs token: what is sent there fills the same minute of 60, and DJs of "
    "production pay for it."
)


def refuse_unused(
    *, stand_in: bool, lml_url: str | None, ids: Path | None, speed: float | None, watch_only: bool
) -> None:
    """Refuse an option of another mode, which would have no effect."""
    if stand_in and lml_url:
        raise click.UsageError("--stand-in is an LML of its own: leave --lml-url out, or --stand-in")
    if ids and (watch_only or not lml_url):
        raise click.UsageError("--ids is for a day against --lml-url, which refreshes them")
    if speed and (watch_only or not (stand_in or lml_url)):
        raise click.UsageError("--speed is for a day over HTTP: --stand-in, or --lml-url")


def lml_at(url: str | None) -> settings.Lml:
    """Read an LML's address as the functions' settings do, and its key from the environment."""
    if not url:
        raise click.UsageError("this needs --lml-url")
    key = os.environ.get("LML_API_KEY", "")
    read = SettingsReader({"LIBRARY_METADATA_URL": url, "LML_API_KEY": key, "LOCAL_DEV": "1"}, no_secret)
    try:
        return read.checked(read.lml())
    except SettingsError as error:
        raise click.UsageError(str(error).replace("LIBRARY_METADATA_URL", "--lml-url")) from None


def must_answer(lml: settings.Lml, *, refresh: bool) -> None:
    """Check that LML answers, and takes the key if it shall refresh; costs a Discogs call. Raises OperatorError."""
    try:
        with RefreshClient(lml, SystemClock()) as client:
            client.health()
            if refresh:
                client.round_trip()
    except RefreshError as error:
        raise OperatorError(
            f"nothing was begun, since LML does not answer as it should: {error}; look at --lml-url and LML_API_KEY"
        ) from None


def ids_in(file: Path | None) -> list[int]:
    """Return the ids of a file, each once."""
    if file is None:
        raise click.UsageError("--lml-url needs --ids: name the identities that may be refreshed")
    texts = file.read_text(encoding="ascii", errors="replace").split()
    if not texts or not all(re.fullmatch(r"[1-9][0-9]{0,18}", text) for text in texts):
        raise click.UsageError(f"{file} must hold identity ids above 0, one a line")
    return list(dict.fromkeys(map(int, texts)))


def make_writable(directory: Path) -> None:
    """Make a directory, and try to write there; raises OperatorError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OperatorError(
            f"nothing was begun, since nothing can be written to {directory}: {error}; name another folder by -o"
        ) from None
