"""Hides secrets in everything that leaves the process: log lines, spans, events and items of the ledger."""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from html.entities import codepoint2name
from typing import Final

HIDDEN: Final = "[hidden]"
_SHORTEST: Final = 8  # a known value below that is an ordinary word of a developer's machine
_SHAPES: Final = re.compile(
    r"(?<=://)[^\s/?#]*(?=@)"  # the user and password of a DSN or connection string
    r"|(?<=bearer )[\w.~+/=-]{8,}"
    r"|(?<=password=)\S+"
    r"|(?<=sentry_key=)\w+",
    re.IGNORECASE,
)
# Looked for first, as that is much cheaper than a secret in all its forms.
_OF_ASCII: Final = re.compile(r"\\(?:u00[2-7]|x[2-7]|[^\w\s])|%(?:25)*[2-7][0-9a-f]|&(?:#|\w+;)|\+", re.IGNORECASE)
_OF_ANYTHING: Final = re.compile(r"[\\%&+]")


class Redaction:
    """Hides what looks like a credential, and each of `known`, a live collection that is read at every call."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known

    def text(self, text: str) -> str:
        for value in self._known:
            text = hide(value, text)
        return _SHAPES.sub(HIDDEN, text)

    def __call__(self, value: object) -> object:
        """Return a copy of JSON-like `value` with its texts redacted; what is not JSON becomes its str."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {str(key): self(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self(item) for item in value]
        return self.text(str(value))


def hide(secret: str, text: str, by: str = HIDDEN) -> str:
    """Return a text without a secret, as it is or escaped: for JSON, Python, a URL or HTML, more than once too.

    One of fewer than 8 characters stays: it is an ordinary word of a developer's machine, and part of any text.
    """
    if len(secret) < _SHORTEST:
        return text
    text = text.replace(secret, by)
    escape = _OF_ASCII if secret.isascii() else _OF_ANYTHING
    return _escaped(secret).sub(by, text) if escape.search(text) else text


@lru_cache(maxsize=64)
def _escaped(secret: str) -> re.Pattern[str]:
    return re.compile("".join(map(_any_way, secret)))


def _any_way(character: str) -> str:
    """Return what matches a character however it is written; a backslash or a percent sign may be escaped again."""
    ways = [rf"\\*{re.escape(character)}"]
    code, utf8 = ord(character), character.encode("utf-8", "surrogatepass")
    utf16 = character.encode("utf-16-be", "surrogatepass").hex()
    ways.append("".join(rf"\\+u{utf16[at : at + 4]}" for at in range(0, len(utf16), 4)))
    ways.append("".join(rf"\\+x{byte:02x}" for byte in utf8))
    ways.append("".join(rf"%(?:25)*{byte:02x}" for byte in utf8))
    ways.append(rf"&(?:amp;)*#0*{code};|&(?:amp;)*#x0*{code:x};")
    if code in codepoint2name:
        ways.append(rf"&(?:amp;)*{codepoint2name[code]};")
    if character == " ":
        ways.append(r"\+")
    literal, *escapes = ways
    return rf"(?:(?i:{'|'.join(escapes)})|{literal})"  # the longer ones first
