"""The stand-in LML over HTTP: the routes of docs/design/lml.md, its faults, its log, and its life as a process."""

import asyncio
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from local import serve
from local.lml import app
from local.lml.limits import Limits
from local.world import World

WORLD = World.seeded(60)
IDS = WORLD.identity_ids()
COLD = [identity for identity in IDS if identity in WORLD.identities]


def client(stand_in, bearer="key"):
    headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
    return httpx.Client(base_url=stand_in, headers=headers, timeout=10)


@pytest.fixture
def lml():
    """Give a stand-in that costs nothing, as a client with its token."""
    with (
        serve.in_thread(app.build(WORLD, speed=1000, token="key", limits=Limits.instant())) as url,
        client(url) as http,
    ):
        yield http


@pytest.fixture
def limited():
    """Give a stand-in with LML's real limits, 100 times faster."""
    with serve.in_thread(app.build(WORLD, speed=100, token="key")) as url, client(url) as http:
        yield http


def refresh(http, ids, **options):
    return http.post(app.REFRESH_PATH, json={"identity_ids": ids}, **options)


def get(http, path):
    return http.get(path).json()


def wait_until(http, condition):
    """Return the first stats for which the condition holds; a minute of requests at most."""
    for _ in range(20_000):
        if condition(stats := get(http, "/_stats")):
            return stats
    raise AssertionError(stats)


def test_an_answer_has_a_result_for_each_id_in_order(lml):
    asked = [IDS[3], IDS[0], IDS[3]]

    answer = refresh(lml, asked)

    assert answer.status_code == 200
    assert [result["identity_id"] for result in answer.json()["results"]] == asked
    assert set(answer.json()["results"][0]) == {"identity_id", "status", "sources", "message"}


@pytest.mark.parametrize(
    ("authorization", "status"),
    [(None, 401), ("Basic key", 401), ("Bearer", 401), ("Bearer wrong", 403), ("bearer key", 200)],
)
def test_only_the_right_token_is_let_in(lml, authorization, status):
    with client(lml.base_url, bearer=None) as http:
        headers = {"authorization": authorization} if authorization else {}
        assert refresh(http, IDS[:1], headers=headers).status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"{}", 422),
        (b'{"identity_ids": null}', 422),
        (b'{"identity_ids": ["1"]}', 422),
        (b'{"identity_ids": [true]}', 422),
        (b'{"identity_ids": [1.5]}', 422),
        (b'{"identity_ids": [%b]}' % b",".join([b"1"] * 51), 400),
        (b'{"identity_ids": []}', 422),
        (b'{"identity_ids": [%b]}' % b",".join([b"1"] * 50), 200),
    ],
    ids=["cut", "list", "empty", "null", "text", "boolean", "fraction", "51 ids", "no ids", "50 ids"],
)
def test_a_body_is_checked_before_any_work(lml, body, status):
    answer = lml.post(app.REFRESH_PATH, content=body)

    assert answer.status_code == status
    assert status == 200 or {"message"} <= set(answer.json()) <= {"message", "details"}
    assert get(lml, "/_stats")["discogs_calls"] == 0


def test_the_ingress_gives_up_and_the_rest_is_cancelled():
    limits = Limits(ingress_seconds=30, discogs_median_seconds=10, discogs_sigma=0)
    with serve.in_thread(app.build(WORLD, speed=200, limits=limits)) as url, client(url) as http:
        assert refresh(http, COLD[:20]).status_code == 502

        stats = get(http, "/_stats")
        assert stats["in_flight"] == 0
        assert 0 < stats["discogs_calls"] <= 8, "two at once for thirty seconds"


def test_a_caller_that_hangs_up_cancels_what_is_left():
    limits = Limits(discogs_median_seconds=100_000, discogs_sigma=0, ingress_seconds=10**9, call_seconds=10**9)
    with serve.in_thread(app.build(WORLD, speed=1000, limits=limits)) as url, client(url) as http:
        with pytest.raises(httpx.ReadTimeout):
            refresh(http, COLD[:20], timeout=0.2)

        wait_until(http, lambda stats: stats["in_flight"] == 0)
        (call,) = get(http, "/_calls")
        assert (call["status"], call["results"]) == (499, [])


def test_health_reads_the_counter_before_a_check_of_its_own_that_is_not_in_it(lml):
    with client(lml.base_url, bearer=None) as http:
        first, second = get(http, "/health"), get(http, "/health")

    assert set(first) >= {"status", "version", "commit_sha", "services"}
    assert first["commit_sha"].startswith("8a1344c")
    assert (first["status"], first["discogs_breaker_state"]) == ("healthy", "closed")
    assert first["services"] == {"database": "ok", "discogs_api": "ok", "discogs_cache": "ok"}
    assert (first["discogs_live_requests_total"], second["discogs_live_requests_total"]) == (0, 0)
    assert get(lml, "/_stats")["discogs_calls_by_kind"] == {"health": 2}


def test_an_open_breaker_sheds_everybody_and_health_asks_nobody(limited):
    limited.post("/_faults", json=[{"breaker": 100_000}])

    health = get(limited, "/health")
    answer = refresh(limited, COLD[:1]).json()["results"]

    assert (health["status"], health["discogs_breaker_state"]) == ("degraded", "open")
    assert health["services"]["discogs_api"] == "rate-limited"
    assert answer[0]["sources"]["discogs_release"] == {
        "release_outcome": "error",
        "artists": [],
        "message": "DiscogsBreakerOpenError",
    }
    stats = get(limited, "/_stats")
    assert (stats["discogs_calls"], stats["live_requests"], stats["sheds_by_kind"]) == (0, 1, {"refresh": 1})


def test_the_counter_of_health_counts_all_callers_and_restarts(lml):
    refresh(lml, COLD[:1])
    cost = WORLD.expected(COLD[:1])["discogs_calls"]

    assert get(lml, "/health")["discogs_live_requests_total"] == cost
    lml.post("/_faults", json=[{"path": "health", "restart": True}])
    assert get(lml, "/health")["discogs_live_requests_total"] == 0


def test_a_latched_lml_answers_503_until_its_next_start_while_health_is_healthy(lml):
    lml.post("/_faults", json=[{"path": "refresh", "latched": True}])

    answers = [refresh(lml, IDS[:1]) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503] * 3
    assert {answer.text for answer in answers} == {'{"message":"Entity store is not available"}'}
    assert not any("retry-after" in answer.headers for answer in answers)
    assert get(lml, "/health")["status"] == "healthy"
    lml.post("/_faults", json=[{"path": "health", "restart": True}])
    get(lml, "/health")
    assert refresh(lml, IDS[:1]).status_code == 200


def test_while_discogs_is_down_a_refresh_reads_as_warmed_and_a_release_as_not_found(lml):
    lml.post("/_discogs", json={"condition": "down"})

    results = refresh(lml, COLD[:3]).json()["results"]
    release = lml.get("/api/v1/discogs/release/5")

    assert {result["status"] for result in results} == {"warmed"}
    assert {len(result["sources"]["discogs_release"]["artists"]) for result in results} == {0}
    assert (release.status_code, release.json()) == (404, {"detail": "Release 5 not found"})
    assert get(lml, "/health")["services"]["discogs_api"] == "upstream-error"
    assert get(lml, "/_stored") == {"releases": [], "artists": []}
    lml.post("/_discogs", json={"condition": "well"})
    assert lml.get("/api/v1/discogs/release/5").status_code == 200


def test_several_processes_answer_behind_one_address():
    with serve.in_thread(app.build(WORLD, speed=1000, limits=Limits(workers=3))) as url, client(url) as http:
        refresh(http, COLD[:1])

        assert len({get(http, "/health")["discogs_live_requests_total"] for _ in range(40)}) == 2


def test_health_can_lack_fields_and_have_nulls(lml):
    fault = {
        "path": "health",
        "fields": {"commit_sha": None},
        "without": ["discogs_breaker_state", "discogs_live_requests_total"],
    }
    lml.post("/_faults", json=[fault])

    body = get(lml, "/health")

    assert body["commit_sha"] is None
    assert not {"discogs_breaker_state", "discogs_live_requests_total"} & set(body)
    assert get(lml, "/health")["discogs_breaker_state"] == "closed"


def test_requests_are_held_until_released(lml):
    lml.post("/_faults", json=[{"path": "refresh", "hold": True, "times": None}])
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(refresh, lml, IDS[i : i + 1]) for i in range(3)]
        wait_until(lml, lambda stats: stats["held"] == 3)

        lml.post("/_release")

    assert [answer.result().status_code for answer in answers] == [200] * 3
    stats = get(lml, "/_stats")
    assert (stats["in_flight_most"], stats["in_flight"], stats["held"]) == (3, 0, 0)


def test_a_fault_takes_the_place_of_the_work_as_often_as_ordered(lml):
    fault = {"path": "refresh", "times": 2, "status": 503, "headers": {"Retry-After": "3"}, "body": "no entity store"}
    lml.post("/_faults", json=[fault])

    answers = [refresh(lml, IDS[:1]) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].headers["retry-after"] == "3"
    assert answers[0].text == "no entity store"


def test_faults_wait_for_the_requests_that_they_are_for(lml):
    faults = [
        {"path": "refresh", "skip": 1, "status": 500},
        {"path": "probe", "status": 404},
        {"ids": [IDS[5]], "status": 418},
    ]
    lml.post("/_faults", json=faults)

    asked = [[], [IDS[0]], [IDS[1]], [IDS[4], IDS[5]], [IDS[5]]]

    assert [refresh(lml, ids).status_code for ids in asked] == [404, 200, 500, 418, 200]


def test_single_results_can_be_changed_or_left_out(lml):
    new = {"status": "sleeping", "sources": None}
    lml.post("/_faults", json=[{"ids": [IDS[1]], "result": new}, {"ids": [IDS[2]], "omit": True}])

    first, second = (refresh(lml, IDS[:3]).json()["results"] for _ in range(2))

    assert [result["status"] == "sleeping" for result in first] == [False, True, False]
    assert [result["identity_id"] for result in second] == IDS[:2]


def test_fields_of_an_answer_can_be_replaced(lml):
    lml.post("/_faults", json=[{"fields": {"results": "none"}}, {"without": ["results"]}])

    assert [refresh(lml, IDS[:1]).json() for _ in range(2)] == [{"results": "none"}, {}]


@pytest.mark.parametrize(("when", "worked"), [("before", False), ("after", True)])
def test_a_connection_can_break_before_or_after_the_work(lml, when, worked):
    lml.post("/_faults", json=[{"reset": when}])

    with pytest.raises(httpx.TransportError):
        refresh(lml, COLD[:1])

    assert (get(lml, "/_stats")["discogs_calls"] > 0) == worked


def test_half_a_body_can_be_followed_by_silence(lml):
    lml.post("/_faults", json=[{"half": True}])

    with lml.stream("POST", app.REFRESH_PATH, json={"identity_ids": IDS[:1]}, timeout=0.2) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            answer.read()


def test_a_body_can_come_byte_by_byte_and_be_large(lml):
    lml.post("/_faults", json=[{"dribble": 1}, {"padding": 2_000_000}])

    assert refresh(lml, IDS[:1]).json()["results"][0]["identity_id"] == IDS[0]
    assert len(refresh(lml, IDS[:1]).content) > 2_000_000


def test_a_delay_counts_against_the_ingress():
    with serve.in_thread(app.build(WORLD, speed=100, limits=Limits(ingress_seconds=20))) as url, client(url) as http:
        http.post("/_faults", json=[{"delay": 40}])

        assert refresh(http, IDS[:1]).status_code == 502


def test_an_unknown_fault_is_refused_with_the_reason(lml):
    answer = lml.post("/_faults", json=[{"explode": True}])

    assert answer.status_code == 400
    assert "explode" in answer.text


def test_the_log_keeps_what_each_id_was_told(lml):
    refresh(lml, IDS[:2])
    refresh(lml, [])

    worked, probe = get(lml, "/_calls")

    assert (worked["ids"], worked["status"]) == (IDS[:2], 200)
    assert [identity for identity, _ in worked["results"]] == IDS[:2]
    assert worked["seconds"] >= 0
    assert (probe["ids"], probe["status"]) == ([], 422)


def test_a_reset_forgets_the_log_and_keeps_the_caches(lml):
    refresh(lml, COLD[:1])

    lml.post("/_reset")
    refresh(lml, COLD[:1])

    assert len(get(lml, "/_calls")) == 1
    assert get(lml, "/_stats")["discogs_calls"] == 0


def test_readers_inside_the_stand_in_share_its_limits(limited):
    limited.post("/_runtime", json={"per_minute": 20, "seed": 3})
    stats = wait_until(limited, lambda stats: len(stats["runtime_seconds"]) >= 20)
    limited.post("/_runtime", json={"per_minute": 0})

    seen = get(limited, "/_discogs")

    assert stats["discogs_calls_by_kind"]["runtime"] >= 20
    assert sum(stats["calls_per_minute"].values()) == stats["discogs_calls"]
    assert {kind for _, kind, _ in seen["calls"]} == {"runtime"}
    assert {outcome for _, _, outcome in seen["readings"]} == {"answered"}


def test_a_cold_world_pays_the_limiter_after_the_first_fifty_calls():
    """At 50 a minute: what is beyond the first 50 calls takes at least that many minutes."""

    async def ask(url):
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            await asyncio.gather(*(refresh(http, COLD[i : i + 10]) for i in range(0, len(COLD), 10)))
            return (await http.get("/_discogs")).json()["calls"]

    limits = Limits(discogs_per_minute=10_000, ingress_seconds=10**9, bulk_permits=50)
    with serve.in_thread(app.build(WORLD, speed=500, limits=limits)) as url:
        calls = asyncio.run(ask(url))

    assert len(calls) == WORLD.expected(COLD)["discogs_calls"]
    assert calls[-1][0] - calls[0][0] >= (len(calls) - 50) * 60 / 50 - 1


def test_a_process_ends_at_once_even_with_a_held_request(tmp_path):
    WORLD.save(tmp_path / "world.json")
    url_file = tmp_path / "url"
    command = [sys.executable, "-m", "local.lml", "--world", tmp_path / "world.json", "--url-file", url_file]
    with subprocess.Popen([*command, "--speed", "10", "--token", "key"]) as process:  # noqa: S603  our own module
        while not url_file.exists():
            assert process.poll() is None
        with client(url_file.read_text()) as http, ThreadPoolExecutor() as pool:
            http.post("/_faults", json=[{"hold": True}])
            answer = pool.submit(refresh, http, IDS[:1])
            wait_until(http, lambda stats: stats["held"] == 1)

            process.terminate()

            assert process.wait(timeout=5) == -signal.SIGTERM
            assert answer.exception() is not None or answer.result().status_code == 500
