"""The settings of an environment, as its template gave them."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from core.environment import SecretFetcher, SettingsError, read_all
from core.telemetry import refuse
from handlers import secrets

_T = TypeVar("_T")


def load_settings(
    read: Callable[[Mapping[str, str], SecretFetcher], _T], needs: Callable[[_T], Iterable[Callable[[], object]]]
) -> _T:
    """Read what a function needs, and the secrets without which it can do nothing.

    What is wrong is logged before anything else; raises SettingsError.
    """
    try:
        settings = read(os.environ, secrets.fetch)
        read_all(*needs(settings))
    except SettingsError as error:
        refuse(error, secrets.hidden)
        raise
    return settings
