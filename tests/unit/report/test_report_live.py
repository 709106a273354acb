"""The stream of a page's events where nothing can be read; with a cloud: tests/integration/test_ops_live.py."""

import asyncio
import json

from botocore.exceptions import EndpointConnectionError

from ops.report.live import Feed
from ops.target import NoRunError, OperatorError


def unreadable(error):
    def target():
        raise error

    return Feed(target)


def events_of(feed):
    """Every event of one page until the stream ends: name and data."""

    async def listen():
        return [event async for event in feed.events()]

    feed.end("that was all")
    events = [text.partition("\n") for text in asyncio.run(listen())]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, _, data in events]


def test_before_the_first_run_the_page_says_how_to_start_one():
    (page, shown), (beat, update), (end, last) = events_of(unreadable(NoRunError("there is no run")))

    assert (page, beat, end) == ("page", "beat", "end")
    assert "rotation run" in shown["html"]
    assert update["problem"] is None
    assert last == {"text": "that was all"}


def test_what_cannot_be_read_is_a_problem_and_not_an_empty_page():
    _, (_, update), _ = events_of(unreadable(OperatorError("no cloud runs here: `rotation up` starts one")))
    assert update["problem"] == "no cloud runs here: `rotation up` starts one"


def test_an_aws_that_is_away_is_shown_and_ends_no_stream():
    _, (_, update), _ = events_of(unreadable(EndpointConnectionError(endpoint_url="http://127.0.0.1:1")))
    assert update["problem"].startswith("AWS does not answer, so this is not of now: ")


def test_a_page_that_was_told_the_end_is_waited_for_no_longer():
    feed = unreadable(NoRunError("there is no run"))
    events_of(feed)

    feed.end("again")  # returns at once: no page is left

    assert feed.over == "again"
