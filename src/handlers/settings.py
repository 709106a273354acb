"""The settings of an environment, as its template gave them."""

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from core.environment import SecretFetcher, SettingsError
from core.telemetry import refuse
from handlers import secrets

_T = TypeVar("_T")


def load_settings(read: Callable[[Mapping[str, str], SecretFetcher], _T]) -> _T:
    """Read what a function needs; what is wrong with it is logged before anything else. Raises SettingsError."""
    try:
        return read(os.environ, secrets.fetch)
    except SettingsError as error:
        refuse(error, secrets.hidden)
        raise
