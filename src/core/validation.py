"""Problems of JSON from elsewhere, as sentences for the person who has to correct it."""

import re
from typing import Final

_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_EXPECTED: Final = re.compile(
    r"Expected `(?P<wanted>[^`]+)`(?:, got `(?P<found>[^`]+)`| (?:of length )?(?P<bound>[<>]=? \S+))"
)


def in_words(error: Exception) -> str:
    """Return msgspec's complaint in words, such as "identity_ids[0] is a text, and must be a whole number"."""
    text, _, place = str(error).partition(" - at ")
    where = place.replace("`", "").replace("$.", "").replace("$", "").strip() or "it"
    if (found := _EXPECTED.fullmatch(text)) is None:
        problem = text.replace("`", "")
        return f"{where}: {problem}" if place else problem
    wanted = " or ".join(_KINDS.get(kind, kind) for kind in found["wanted"].split(" | "))
    if found["found"]:
        return f"{where} is {_KINDS.get(found['found'], found['found'])}, and must be {wanted}"
    length = " of length" if " of length " in text else ""
    return f"{where} must be {wanted}{length} {found['bound']}"
