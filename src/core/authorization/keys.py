"""An issuer's public keys, from its JSON Web Key Set (RFC 7517); kept, and fetched at most once a minute or so."""

import json
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from core.lml.http import BoundedHttp, NoReplyError

ALGORITHMS: Final = {
    "OKP": frozenset({"EdDSA"}),
    "EC": frozenset({"ES256", "ES384", "ES512"}),
    "RSA": frozenset({"RS256", "RS384", "RS512"}),
}
"""What each type of key may sign with; no symmetric one, since whoever checks with it could sign."""
FETCH_SECONDS: Final = 3.0
"""For the whole answer: the API gives its authorizer 10, and a DJ waits."""
BYTES_MOST: Final = 1 << 20
FRESH_SECONDS: Final = 600.0
"""After which keys are fetched anew, so that a withdrawn one does not stay."""
LIFE_SECONDS: Final = 3600.0
"""For which keys are used while their issuer is away."""
APART_SECONDS: Final = 60.0
"""Between two fetches while there are keys, whatever unknown ones tokens name."""
RETRY_SECONDS: Final = 5.0
"""Between two fetches while there are none."""
_KEYS_MOST: Final = 100
_RSA_BITS_LEAST: Final = 2048  # RFC 7518, section 3.3


class KeysUnavailableError(Exception):
    """No token can be checked: the issuer's keys were never read, or too long ago."""


class Key(msgspec.Struct, frozen=True):
    """A public key as PyJWT takes it, and the algorithms that it may have signed with."""

    public: object
    algorithms: tuple[str, ...]


def fetch(url: str) -> bytes:
    """Return what is at a URL; raises KeysUnavailableError, also for what is too large or too slow."""
    with BoundedHttp(body_limit=BYTES_MOST) as http:
        try:
            reply = http.send("GET", url, limit=FETCH_SECONDS)
        except NoReplyError as error:
            raise KeysUnavailableError(f"{url}: {error}") from None
    if reply.status != 200:
        raise KeysUnavailableError(f"{url}: status {reply.status}")
    return bytes(reply.body)


def fetch_patiently(url: str) -> bytes:
    """Fetch once more what failed, where a failure is remembered for as long as API Gateway remembers an answer."""
    try:
        return fetch(url)
    except KeysUnavailableError:
        return fetch(url)


def parsed(body: bytes) -> dict[str, Key]:
    """Return the usable keys of a key set by their ids; raises KeysUnavailableError where it has none.

    Those of another use, another type or an algorithm that is not taken are left out.
    """
    try:
        listed = json.loads(body)["keys"]
        found = {kid: key for kid, key in map(_named, listed[:_KEYS_MOST]) if key is not None}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeysUnavailableError(f"no key set: {type(error).__name__}") from None
    if not found:
        raise KeysUnavailableError("the key set has no key with an id that signs with EdDSA, ES or RS")
    return found


def _named(each: dict[str, object]) -> tuple[str, Key | None]:
    kid = each.get("kid")
    may = ALGORITHMS.get(str(each.get("kty")), frozenset())
    if not isinstance(kid, str) or each.get("use", "sig") != "sig" or not may:
        return "", None
    try:
        jwk = PyJWK.from_dict(each)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):  # a malformed key is left out
        return "", None
    if isinstance(jwk.key, RSAPublicKey) and jwk.key.key_size < _RSA_BITS_LEAST:
        return "", None
    # Of an RSA key alone the type does not say the algorithm.
    names = may if each["kty"] == "RSA" and "alg" not in each else may & {jwk.algorithm_name}
    return kid, Key(jwk.key, tuple(sorted(names))) if names else None


class Keys:
    """The keys of one issuer. Safe for threads: one fetches, the others wait for it.

    Keys are fresh for 10 minutes, used for an hour while nothing newer can be had, and fetched anew for an unknown id;
    the last two at most once a minute.
    """

    def __init__(self, url: str, fetch: Callable[[str], bytes], now: Callable[[], float] = time.time) -> None:
        self._url = url
        self._fetch = fetch
        self._now = now
        self._lock = threading.Lock()
        self._keys: dict[str, Key] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._fault = "they were not asked for yet"

    def key(self, kid: str) -> Key | None:
        """Return a key, None where the issuer has none of this id; raises KeysUnavailableError."""
        with self._lock:
            if kid not in self._keys or self._age() >= FRESH_SECONDS:
                self._renew()
            if self._age() >= LIFE_SECONDS:
                raise KeysUnavailableError(f"no token can be checked: {self._fault}")
            return self._keys.get(kid)

    def fetch_early(self) -> None:
        """Fetch the keys before the first token comes; after a failure the first token fetches them again."""
        with self._lock:
            self._renew()
            if not self._keys:
                self._tried_at = float("-inf")

    def _age(self) -> float:
        return self._now() - self._read_at

    def _renew(self) -> None:
        apart = APART_SECONDS if self._age() < LIFE_SECONDS else RETRY_SECONDS
        if 0 <= self._now() - self._tried_at < apart:  # a clock that was set back makes it below 0
            return
        try:
            self._keys = parsed(self._fetch(self._url))
        except KeysUnavailableError as error:
            self._fault = str(error)
        else:
            self._read_at = self._now()
        self._tried_at = self._now()
