"""Which failed requests may have cost Discogs calls: not those that never arrived, and not those that LML refused."""

import socket

import pytest

from core import settings
from core.clock import SystemClock
from core.lml.client import RefreshClient, RefreshError


def error(**about):
    return RefreshError(
        request="POST refresh", kind="retryable_error", elapsed=2.0, detail="", **{"cause": "status"} | about
    )


@pytest.mark.parametrize(
    ("failure", "may_have_cost"),
    [
        (error(cause="connection", was_sent=False), False),
        (error(cause="timeout", was_sent=False), False),
        (error(cause="connection"), True),
        (error(cause="timeout"), True),
        (error(status=401), False),
        (error(status=404), False),
        (error(status=422), False),
        (error(status=429), False),
        (error(status=503, retry_after=5.0), False),
        (error(status=500), True),
        (error(status=502), True),
        (error(status=504), True),
    ],
)
def test_what_may_have_cost(failure, may_have_cost):
    assert failure.may_have_cost is may_have_cost


def asked(url):
    key = settings.Secret("LML_API_KEY", "a-key-of-tests", fetch=lambda _arn, _anew: "")
    with RefreshClient(settings.Lml(url=url, api_key=key), SystemClock()) as lml, pytest.raises(RefreshError) as failed:
        lml.refresh([1], limit=0.5)
    return failed.value


def test_a_refused_connection_sent_nothing():
    assert not asked("http://127.0.0.1:1").was_sent


def test_a_server_that_takes_the_request_and_says_nothing_may_have_worked():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert asked(f"http://127.0.0.1:{silent.getsockname()[1]}").was_sent
