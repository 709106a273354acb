"""The last line against a secret in what leaves: every log line, span and event passes here (DESIGN §9)."""

import re
from collections.abc import Collection, Mapping
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


class Redaction:
    """Hides what looks like a credential, and each of `known`, a live collection that is read at every call."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known

    def text(self, text: str) -> str:
        for value in self._known:
            if len(value) >= _SHORTEST:
                text = text.replace(value, HIDDEN)
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
