"""The settings of a server: the picker's, whose tokens it takes, which origins may read, and where it listens."""

import re
from collections.abc import Mapping

import msgspec

from core import authorization
from core.authorization import AuthorizationSettings
from core.picker import config
from core.picker.config import PickerSettings
from core.settings import SecretFetcher, SettingsError, SettingsReader

_TOKENS = ("PICKER_JWKS_URL", "PICKER_JWT_ISSUER", "PICKER_JWT_AUDIENCE")


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    picker: PickerSettings
    authorization: AuthorizationSettings | None
    """None lets everybody read, which only a developer's machine may: LOCAL_DEV=1 and no settings of tokens."""
    origins: tuple[str, ...]
    """Whose pages may read the answers; "*" is everybody's."""
    host: str
    port: int
    """0 is any free one."""


def read(environ: Mapping[str, str], fetch: SecretFetcher) -> ServerSettings:
    """Build the settings; raises SettingsError with every problem."""
    reader = SettingsReader(environ, fetch)
    problems = []
    try:
        picker = config.read(environ, fetch, needs_table=False)
    except SettingsError as error:
        problems.append(str(error))
    is_open = reader.local_dev and not any(map(reader.is_set, _TOKENS))
    tokens = None if is_open else authorization.read_from(reader)
    origins = tuple(reader.items("PICKER_CORS_ORIGINS"))
    for origin in origins:
        # A browser sends it without a path, and compares letter by letter.
        if origin != "*" and not re.fullmatch(r"https?://[^\s/?#@]+", origin):
            reader.problem(
                "PICKER_CORS_ORIGINS", f"holds {origin!r}, which is no origin such as https://dj.example.org"
            )
    host, port = reader.text("HOST"), reader.integer("PORT", 0, 65_535)
    try:
        reader.checked(None)
    except SettingsError as error:
        problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(dict.fromkeys("\n".join(problems).splitlines())))
    return ServerSettings(picker=picker, authorization=tokens, origins=origins, host=host, port=port)
