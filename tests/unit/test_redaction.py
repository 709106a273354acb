"""A secret is hidden however it is written; the rest of a text stays."""

import html
import json
from functools import partial
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.redaction import HIDDEN, Redaction, hide

secrets = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40)


def in_json(text):
    return json.dumps(text)[1:-1]


def every_character(text):
    return "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else json.dumps(c)[1:-1] for c in text)


def every_byte(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


WAYS = {
    "as it is": str,
    "JSON": in_json,
    "JSON in JSON": lambda text: in_json(in_json(text)),
    "JSON, every character": every_character,
    "JSON, every character, in upper case": lambda text: every_character(text).upper().replace("\\U", "\\u"),
    "JSON with slashes escaped": lambda text: in_json(text).replace("/", "\\/"),
    "Python's repr": lambda text: repr(text)[1:-1],
    "URL": partial(quote, safe=""),
    "URL, slashes left": quote,
    "form": quote_plus,
    "URL in URL": lambda text: quote(quote(text, safe=""), safe=""),
    "URL, every byte": every_byte,
    "URL in JSON": lambda text: in_json(quote(text, safe="")),
    "HTML": html.escape,
    "HTML in HTML": lambda text: html.escape(html.escape(text)),
    "HTML, numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("secret", ["kL9-_xYz/+=AbCd", "pass'w\"o\\rd <&>", "p%41ss %word%", "pässw€rd-\U0001f512"])
def test_a_secret_is_hidden_however_it_is_written(way, secret):
    assert hide(secret, f"before {way(secret)} after") == f"before {HIDDEN} after"


@settings(deadline=None)
@given(secrets, st.sampled_from([WAYS[name] for name in WAYS if not name.startswith("Python")]))
def test_no_escape_lets_a_secret_through(secret, way):
    assert hide(secret, f"<{way(secret)}>") == f"<{HIDDEN}>"


@given(secrets, st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cs"]), max_size=200))
def test_a_text_without_the_secret_stays_as_it_is(secret, text):
    marked = f"{secret}§§§"
    if "§" not in text:
        assert hide(marked, text) == text


def test_a_short_word_is_no_secret():
    assert hide("test", "a test") == "a test"


def test_a_known_secret_is_hidden_in_all_that_is_json_like():
    redact = Redaction(["secret-of-lml"])

    assert redact({"a": ["x secret-of-lml", {"b": "secret%2Dof%2Dlml"}], "n": 5}) == {
        "a": [f"x {HIDDEN}", {"b": HIDDEN}],
        "n": 5,
    }
