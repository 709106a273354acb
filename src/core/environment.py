"""Reading one environment: texts, numbers, secrets, addresses; what is wrong is collected, not raised at once."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

_T = TypeVar("_T")

SecretFetcher: TypeAlias = Callable[[str, bool], str]
"""Takes an ARN and whether a cached value must not be used; injected, so that settings need no AWS SDK.

Returns the secret's text as it is stored; raises SecretUnavailableError.
"""

_ARN_SUFFIX: Final = "_SECRET_ARN"
_SHOWN: Final = 40  # characters of a wrong value that a message repeats
_BYTE_ORDER_MARK: Final = "\ufeff"  # what a Windows editor puts before a text


class SettingsError(ValueError):
    """One line for each problem, each beginning with the variable it is about."""

    may_pass = False
    """True if it may be over soon: the settings are right, but a secret's store cannot be reached."""


class SecretUnavailableError(LookupError):
    """Why a secret cannot be read, and what to do; never its value."""

    def __init__(self, why: str, *, may_pass: bool = False) -> None:
        super().__init__(why)
        self.may_pass = may_pass


class Login(NamedTuple):
    """What a database lets in; no user where the secret is a password alone."""

    username: str | None
    password: str | None


class Secret:
    """A value, or the ARN of one that is fetched when first needed; its repr and str never show it.

    What cannot be read or used is a SettingsError that names the variable, and what to do.
    """

    __slots__ = ("_arn", "_fetch", "_value", "name")

    def __init__(self, name: str, value: str | None = None, *, arn: str | None = None, fetch: SecretFetcher) -> None:
        self.name = name
        self._value = value
        self._arn = arn
        self._fetch = fetch

    @property
    def is_unset(self) -> bool:
        """True if there is neither a value nor an ARN; fetches nothing."""
        return not self._value and not self._arn

    def get(self) -> str | None:
        """Return a token or an address without white space or byte-order mark around it, None when there is none.

        Raises SettingsError.
        """
        text = self._text().strip()
        if _fields(text) is not None:
            raise self._unusable("is JSON; store the value alone, as plain text")
        if not (text.isascii() and text.isprintable()):
            raise self._unusable("holds a character that an HTTP header cannot carry; store it anew, on one line")
        return text or None

    def login(self) -> Login:
        """Return a password, or the user and the password of JSON such as RDS makes; raises SettingsError."""
        text = self._text().rstrip("\r\n")  # blanks may be part of a password
        fields = _fields(text)
        if fields is None:
            return Login(None, self._possible(text) or None)
        username, password = fields.get("username"), fields.get("password")
        if not (isinstance(password, str) and password and isinstance(username, str | None)):
            raise self._unusable('is JSON without a text under "password": store it with one, or the password alone')
        return Login(username or None, self._possible(password))

    def fetch_anew(self) -> bool:
        """Replace a fetched value, once it was refused; False when it came from the environment and cannot differ.

        Raises SettingsError.
        """
        if not self._arn:
            return False
        self._value = self._fetched(self._arn, anew=True)
        return True

    def _text(self) -> str:
        if self._value is None and self._arn:
            self._value = self._fetched(self._arn, anew=False)
        return (self._value or "").removeprefix(_BYTE_ORDER_MARK)

    def _fetched(self, arn: str, *, anew: bool) -> str:
        try:
            text = self._fetch(arn, anew)
        except SecretUnavailableError as error:
            unusable = self._unusable(f"cannot be read: {error}")
            unusable.may_pass = error.may_pass
            raise unusable from None
        if not text.removeprefix(_BYTE_ORDER_MARK).strip():
            raise self._unusable("is empty: fill it, as the output of the stack says")
        return text

    def _possible(self, password: str) -> str:
        if "\0" in password:
            raise self._unusable("holds a NUL, which no password of PostgreSQL can: store it anew")
        return password

    def _unusable(self, why: str) -> SettingsError:
        return SettingsError(f"{self.name}{_ARN_SUFFIX}'s secret {why}" if self._arn else f"{self.name} {why}")

    def __repr__(self) -> str:
        return f"Secret({self.name})"


def read_all(*reads: Callable[[], object]) -> None:
    """Read secrets, such as `key.get`, before they are needed; raises SettingsError with the problem of each."""
    problems = []
    for read in reads:
        try:
            read()
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))


def hidden_texts(value: str) -> list[str]:
    """Return what must be hidden of a secret: all of it, and what is secret inside if it is JSON."""
    text = value.removeprefix(_BYTE_ORDER_MARK).strip()
    fields = (_fields(text) or {}).items()
    inside = [it for name, it in fields if isinstance(it, str) and re.search("pass|secret|token|key", name.lower())]
    return [it for it in (text, *inside) if it]


def _fields(text: str) -> dict[str, object] | None:
    """Return the fields of a text that is a JSON object, else None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


class Reader:
    """Reads variables with their defaults; a wrong one is noted and stood in for, so that the rest is read as well."""

    def __init__(self, environ: Mapping[str, str], defaults: Mapping[str, str | None], fetch: SecretFetcher) -> None:
        self._environ = environ
        self._defaults = defaults
        self._fetch = fetch
        self._problems: list[str] = []
        local_dev = self.optional("LOCAL_DEV") or ""
        self.local_dev = local_dev == "1"
        if local_dev not in {"0", "1"}:
            self.problem("LOCAL_DEV", f"is {shown(local_dev)}; only 1 turns it on, 0 or nothing is off")

    def checked(self, settings: _T) -> _T:
        """Return what was built from this environment; raises SettingsError if reading it met a problem."""
        if self._problems:
            raise SettingsError("\n".join(self._problems))
        return settings

    def problem(self, name: str, fault: str) -> None:
        self._problems.append(f"{name} {fault}")

    def optional(self, name: str) -> str | None:
        """Return the variable, else its default; empty or only white space is unset."""
        return self._environ.get(name, "").strip() or self._defaults[name]

    def is_set(self, name: str) -> bool:
        """True if the variable itself is set, whatever its default."""
        return bool(self._environ.get(name, "").strip())

    def text(self, name: str) -> str:
        value = self.optional(name)
        if value is None:
            self.problem(name, "is required and not set: set it")
        return value or ""

    def items(self, name: str) -> list[str]:
        """Return the parts of a list with commas, without white space and empty ones."""
        return [part for part in map(str.strip, (self.optional(name) or "").split(",")) if part]

    def integer(self, name: str, lowest: int, highest: int, why: str = "") -> int:
        value = self.optional(name) or ""
        # Not int() alone: that also takes signs, underscores, other scripts' digits and megabytes of them.
        if re.fullmatch("[0-9]{1,9}", value) and lowest <= int(value) <= highest:
            return int(value)
        self.problem(name, f"is {shown(value)}; it must be a whole number from {lowest} to {highest}{why}")
        return lowest

    def secret(self, name: str) -> Secret:
        value, arn = self._environ.get(name, ""), self.optional(f"{name}{_ARN_SUFFIX}")
        value = value if value.strip() else ""  # as it is: blanks may be part of a password
        if value and arn and not self.local_dev:  # locally the plain one wins: `sam local` can set, but not unset
            self.problem(name, f"is set, and so is {name}{_ARN_SUFFIX}; set one of them")
        return Secret(name, value or None, arn=None if value else arn, fetch=self._fetch)

    def address(self, name: str) -> str:
        """Return an https address without its final slashes; a wrong one is not shown: it may hold a password."""
        url = self.text(name).rstrip("/")
        fault = _address_fault(url, local_dev=self.local_dev) if url else None
        if fault:
            self.problem(name, fault)
        return url


def shown(value: str) -> str:
    """Return a wrong value for a message: on one line, and not a page of it."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...'"


def _address_fault(url: str, *, local_dev: bool) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # both are parsed only now, and may refuse
    except ValueError:
        return "is no address: its host or port cannot be read"
    faults = {
        "must begin with https:// (http:// only with LOCAL_DEV=1)": parts.scheme != "https"
        and not (local_dev and parts.scheme == "http"),
        "has no host, or one that no name can be": not all(0 < len(label) < 64 for label in (host or "").split(".")),
        "must not hold a user or a password": "@" in parts.netloc,
        "must not have a query or a fragment": "?" in url or "#" in url,
        "holds a character that an address must percent-encode": re.search(r"[^!-~]", url) is not None,
    }
    return next((fault for fault, applies in faults.items() if applies), None)
