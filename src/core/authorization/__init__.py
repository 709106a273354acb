"""Who may read tracks: a bearer token is checked against its issuer's published keys and a list of roles."""

from collections.abc import Callable

from core.authorization.config import AuthorizationSettings, read, read_from
from core.authorization.keys import Keys, KeysUnavailableError, fetch, fetch_patiently
from core.authorization.tokens import Authorizer, Decision

__all__ = [
    "AuthorizationSettings",
    "Authorizer",
    "Decision",
    "Keys",
    "KeysUnavailableError",
    "authorizer",
    "fetch",
    "fetch_patiently",
    "read",
    "read_from",
]


def authorizer(settings: AuthorizationSettings, get: Callable[[str], bytes] = fetch) -> Authorizer:
    """Wire an authorizer; it fetches the issuer's keys when the first token comes."""
    return Authorizer(settings, Keys(settings.jwks_url, get))
