"""The page as a browser would read it, whatever the run was like."""

import base64
import hashlib
import re
from datetime import datetime
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from core.budget.pacing import Pace
from core.runs.totals import TOTALS, Totals
from ops.beside import Beside
from ops.report import render, write_report
from ops.report.page import render_live
from ops.target import OperatorError
from tests.unit.report.runs import RUN_ID, delivery, material, message, row, run, snapshot

HOSTILE = [
    "<script>alert(1)</script>",
    "</td></table></body>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% raw %}",
    "\u202eevil\u202c \u05e9\u05dc\u05d5\u05dd",
    "\U0001f3b8\u200d\U0001f9d1 \x07\x1b[31m",
    "'\"&amp;\u2028\\",
]

FAILED = {"totals": Totals(identities_scanned=4, identities_resolved=3, lml_error=1)}


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
                run=run("running", reason=text, **FAILED),
                messages=[message(not_found=[1], failed={2: text})],
                trouble=text,
                rests=text,
                options=text,
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
    assert "".join(page.texts).count(text.replace("&amp;", "&amp;")) >= 9
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


def test_a_run_that_goes_on_is_reported_as_one():
    text = Page(render(material(run=run("running")))).text

    assert "the run has not ended" in text
    assert "All is well: the run goes on" in text
    assert "rotation replay" not in text


def test_each_total_stands_once():
    totals = Totals(**dict.fromkeys(TOTALS, 7))

    html = render(material(run=run(totals=totals, planned=21)))

    for name in ("planned", *TOTALS):
        assert html.count(f'id="total-{name}"') == 1


def test_the_state_comes_first_then_what_to_do_then_the_figures():
    html = render(material(run=run("stopped", reason="no more"), messages=[message(failed={3: "Oops"})]))

    places = [html.index(f'id="{part}"') for part in ("status", "now", "verdicts", "figures", "work", "pace", "failed")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("changes", "level", "expected"),
    [
        ({}, "well", "What to do now Nothing. Verdicts"),
        ({"run": run("running")}, "well", "Nothing: the run goes on by itself."),
        ({"run": run("planning")}, "well", f"If that takes minutes, end it. rotation stop {RUN_ID}"),
        ({"run": run("running"), "trouble": "LML is gone"}, "watch", "Last error: LML is gone See that LML is up."),
        ({"run": run("running"), "rests": "has rested for 5 s"}, "watch", "the run rests, and goes on by itself"),
        ({"run": run("running", **FAILED)}, "watch", "Once the run has ended, this asks again for those that are"),
        ({"run": run(**FAILED)}, "act", "1 id failed. This asks again for those that are still open."),
        ({"run": run("stopped", reason="wrong key", **FAILED)}, "act", "Why: wrong key 1 id failed. Remove the"),
        ({"run": run("refused", reason="too old")}, "act", "Why: too old Nothing was sent. Put right what is named"),
        ({"run": run("failed", reason="no database")}, "act", f"rotation logs {RUN_ID} --level error"),
        ({"run": run(emitted_at=None)}, "act", f"rotation stop {RUN_ID}"),
        ({"letters": {"dead": 1, "parked": 1}}, "act", "2 messages or starts wait for a person. rotation dead-letters"),
        ({"run": run(**FAILED), "options": " --stack-name s"}, "act", f"rotation replay {RUN_ID} --stack-name s"),
    ],
    ids=[
        "complete", "running", "planning", "LML fails", "rests", "failures so far", "failures", "stopped", "refused",
        "failed", "unreported", "dead letters", "deployed",
    ],
)  # fmt: skip
def test_in_one_look_a_person_sees_whether_it_is_all_right_and_what_to_do(changes, level, expected):
    html = render(material(**changes))

    assert f'<section id="now" class="wide {level}">' in html
    assert expected in " ".join(" ".join(Page(html).texts).split())


def test_failed_ids_stand_beside_their_reason_the_most_frequent_first():
    failed = {3: "Oops", 5: "gone", 4: "gone"}

    text = Page(render(material(messages=[message(failed=failed)]))).text

    assert re.search(r"gone\s*2\s*4, 5\s*Oops\s*1\s*3", text)


def test_what_nobody_tells_is_not_shown_as_none():
    """The calls of others beside a real LML, and the queues where AWS does not let this role look."""
    text = Page(render(material(letters=None, unknown={"letters": "AccessDenied"}))).text

    assert "all callers, DJsnot known: no LML tells" in text.replace("DJs not", "DJsnot")
    assert re.search("dead letters\\s*not known: AccessDenied", text)
    assert "no sign that it is open" in text


def test_the_harm_to_readers_is_shown_where_it_is_known():
    harm = Beside(
        calls=900, ours=300, most_in_a_minute=58, breaker="half-open", breaker_opened=2, djs_calls=400, djs_shed=7
    )

    text = Page(render(material(beside=harm, speed=200.0))).text

    assert "about 0 of this run, an estimate; LML made 300" in text
    assert "with a clock 200 times faster that time is evidence of how busy this machine is" in text
    assert "half-open; it opened 2 times in this run" in text
    assert "900 Discogs calls, at most 58 of Discogs' 60 in a minute" in text
    assert "7 of 400 calls shed" in text


def test_the_parts_under_way_count():
    under_way = Totals(identities_scanned=3, identities_resolved=2, not_found=1, lml_error=1, lml_requests=4)

    page = Page(render(material(run=run("running", planned=9, totals=Totals()), under_way=under_way)))

    assert [page.values[f"total-{name}"] for name in ("identities_scanned", "not_found", "lml_requests")] == [3, 1, 4]


@pytest.mark.parametrize(("calls", "owed", "average"), [(40, 0.0, 8.0), (60, 150.0, 8.0), (61, 99_999.0, 61 / 10.25)])
def test_a_call_is_paid_for_by_the_wait_behind_it(calls, owed, average):
    """In five minutes at 8 a minute; so that a healthy run never shows more than its budget."""
    began = datetime.fromisoformat("2026-02-03T04:30:00+00:00").timestamp()
    seen = snapshot(
        run=run("running", totals=Totals(discogs_calls_estimated=calls)),
        at="2026-02-03T04:35:00.000Z",
        pace=Pace(next_start=began + 300 + owed),
    )

    assert seen.calls_a_minute == pytest.approx(average)


def test_a_live_page_runs_its_own_script_and_no_other():
    html = render_live("title", "content")

    page = Page(html)
    (policy,) = [value for _, value in page.attributes if value and "script-src" in value]
    digest = base64.b64encode(hashlib.sha256(re.search("<script>(.*)</script>", html, re.DOTALL)[1].encode()).digest())
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest.decode()}'; connect-src 'self'"
    )
    assert page.tags.count("script") == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lines": []}, "hold no line of this run"),
        ({"lines": [], "unknown": {"logs": "AccessDenied"}}, "could not be read (AccessDenied)"),
        ({"run": run(totals=Totals(lml_requests=2))}, "the logs do not hold all of them"),
        ({"lines": [delivery(requests=((0, 1, 1), (0, 1, 1)))]}, "deliveries that did not count"),
        ({"unknown": {"rows": "no route"}, "messages": [message(not_found=[1])]}, "not known: no route"),
    ],
    ids=["no lines", "no logs", "fewer requests", "more requests", "no database"],
)
def test_what_is_not_known_is_shown(changes, expected):
    assert expected in Page(render(material(**changes))).text


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
    assert "Requests that failed" not in Page(render(material(lines=[delivery()]))).text
