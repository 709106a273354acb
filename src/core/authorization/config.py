"""The settings of authorization: whose tokens are taken, and which roles may read."""

from collections.abc import Mapping

import msgspec

from core.settings import SettingsReader


class AuthorizationSettings(msgspec.Struct, frozen=True, kw_only=True):
    jwks_url: str
    issuer: str
    """As the tokens' `iss` has it, to the letter."""
    audience: str
    roles: frozenset[str]
    """Of the claim `role`, any one of which may read."""


def read(environ: Mapping[str, str]) -> AuthorizationSettings:
    """Build the settings; raises SettingsError with every problem."""

    def no_secret(arn: str, _anew: bool) -> str:
        raise LookupError(f"{arn}: authorization has no secret")

    reader = SettingsReader(environ, no_secret)
    return reader.checked(read_from(reader))


def read_from(reader: SettingsReader) -> AuthorizationSettings:
    """Build the settings with a reader of more; problems are noted there."""
    roles = frozenset(reader.items("PICKER_JWT_ROLES"))
    if not roles:
        reader.problem("PICKER_JWT_ROLES", "names no role; it must be a list such as dj,musicDirector")
    return AuthorizationSettings(
        jwks_url=reader.address("PICKER_JWKS_URL"),
        issuer=reader.text("PICKER_JWT_ISSUER"),
        audience=reader.text("PICKER_JWT_AUDIENCE"),
        roles=roles,
    )
