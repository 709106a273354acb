"""The page as a browser would read it, whatever the run was like."""

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from core.runs.totals import TOTALS, Totals
from ops.report import render, write_report
from ops.target import OperatorError
from tests.unit.report.runs import RUN_ID, delivery, material, message, row, run

HOSTILE = [
    "<script>alert(1)</script>",
    "</td></table></body>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% raw %}",
    "\u202eevil\u202c \u05e9\u05dc\u05d5\u05dd",
    "\U0001f3b8\u200d\U0001f9d1 \x07\x1b[31m",
    "'\"&amp;\u2028\\",
]


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.values: dict[str, int] = {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        given = dict(attrs)
        if tag == "data":
            self.values[given["id"]] = int(given["value"])

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.texts))


def test_every_total_of_the_ledger_is_on_the_page():
    totals = Totals(**{name: number for number, name in enumerate(TOTALS, start=100)})

    page = Page(render(material(run=run(totals=totals, planned=4321))))

    shown = {name.removeprefix("total-"): value for name, value in page.values.items() if name.startswith("total-")}
    assert shown == {"planned": 4321} | {name: getattr(totals, name) for name in TOTALS}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_title_stays_a_title(text):
    """Also an artist, a reason that LML gave, and why a run was refused."""
    page = Page(
        render(
            material(
                run=run(reason=text),
                messages=[message(not_found=[1], failed={2: text})],
                rows={1: [row(1, text, text)], 2: [row(2, text, text)]},
                lines=[delivery(), {"step": "malformed_response", "message": text, "identity_ids": [2]}],
                unknown={"rows": text},
            )
        )
    )
    plain = Page(render(material()))

    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "".join(page.texts).count(text.replace("&amp;", "&amp;")) >= 7
    assert page.tags.count("main") == plain.tags.count("main") == 1


def test_nothing_is_fetched_and_nothing_runs():
    html = render(material())

    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in {"src", "href", "action", "xlink:href"}]
    assert "url(" not in html
    assert "@import" not in html
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_stale_ids_come_with_their_rows():
    rows = {9: [row(9, "Nils", "Antenna", rotation=31), row(9, None, "Again", rotation=32)]}

    text = Page(render(material(messages=[message(not_found=[9, 10])], rows=rows))).text

    assert re.search(r"9\s*31\s*H\s*Nils\s*Antenna", text)
    assert re.search(r"9\s*32\s*H\s*\u2013\s*Again", text)
    assert re.search(r"10\s*rows not known", text)


def test_failed_ids_come_with_reasons_and_the_replay():
    totals = Totals(identities_scanned=4, identities_resolved=3, lml_error=1)

    text = Page(render(material(run=run(totals=totals), messages=[message(failed={3: "error: Oops"})]))).text

    assert f"rotation replay {RUN_ID}" in text
    assert re.search(r"3\s*rows not known\s*error: Oops", text)


def test_a_run_without_failures_offers_no_replay():
    assert "rotation replay" not in render(material())


@pytest.mark.parametrize("status", ["refused", "failed"])
def test_a_run_that_sent_nothing_says_why(status):
    ended = run(status, planned=0, totals=Totals(), reason="LML is too old", messages_planned=0, messages_done=0)

    text = Page(render(material(run=ended, messages=[], lines=[]))).text

    assert "Nothing was sent." in text
    assert "LML is too old" in text


def test_an_empty_run_says_so():
    empty = run(planned=0, totals=Totals(), messages_planned=0, messages_done=0)

    text = Page(render(material(run=empty, messages=[], lines=[]))).text

    assert "There was nothing to do" in text
    assert "no request was made" in text


def test_a_run_that_goes_on_is_told_as_one():
    text = Page(render(material(run=run("running")))).text

    assert "has not ended" in text
    assert "not yet" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lines": []}, "hold no line of this run"),
        ({"lines": [], "unknown": {"logs": "AccessDenied"}}, "could not be read (AccessDenied)"),
        ({"run": run(totals=Totals(lml_requests=2))}, "the logs do not hold all of them"),
        ({"lines": [delivery(requests=((0, 1, 1), (0, 1, 1)))]}, "deliveries that did not count"),
        ({"unknown": {"rows": "no route"}, "messages": [message(not_found=[1])]}, "not known: no route"),
    ],
    ids=["no lines", "no logs", "fewer requests", "more requests", "no database"],
)
def test_what_is_not_known_is_said(changes, said):
    assert said in Page(render(material(**changes))).text


def test_a_run_is_compared_with_those_before_it():
    before = replace(
        run(totals=Totals(identities_scanned=300, not_found=6, lml_requests=77)), run_id="scheduled-2026-02-02"
    )

    text = Page(render(material(earlier=[before]))).text

    assert re.search(r"this one.*scheduled-2026-02-02\s*complete\s*4\s*2\.0 %\s*0\.0 %\s*0\s*77", text)


def test_a_page_of_30_000_ids_stays_small():
    """All of them stale or failed, each with a row: the first ones in a table, the others as numbers."""
    ids = range(1_000_000, 1_030_000)
    messages = [
        message(ids[at : at + 50], not_found=ids[at : at + 25], failed=dict.fromkeys(ids[at + 25 : at + 50], "x" * 120))
        for at in range(0, 30_000, 50)
    ]
    lines = [delivery(number, after=100.0 * number, requests=((1.0, 0.9, 1.0),) * 50) for number in range(600)]
    rows = {identity: [row(identity, "An artist of some length", "A title that is longer")] for identity in ids}

    html = render(material(run=run(planned=30_000), messages=messages, rows=rows, lines=lines))

    assert len(html.encode()) < 1_000_000
    assert set(map(str, ids)) <= set(re.findall(r"\d{7}", html))


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = write_report(material(), tmp_path / "deep" / "page.html")

    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot be written"):
        write_report(material(), tmp_path / "file" / "page.html")


def test_retries_without_a_table_name_none():
    text = Page(render(material(lines=[delivery()]))).text

    assert "table" not in text.partition("asked again")[2]
