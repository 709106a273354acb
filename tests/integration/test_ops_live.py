"""The live page in a real browser, on a phone in the dark, beside a real run of the cloud of `rotation up`."""

import json
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, chdir

import httpx
import jsonschema
import pytest

from core.runs.totals import TOTALS
from local.process import end, listening, spawn
from tests.browser.devtools import CHROMIUM, browser
from tests.eventually import eventually
from tests.integration.operating import INTERRUPTIBLE, SHAPES

PHONE = 390
BRIGHTNESS = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number).reduce((a, b) => a + b)"


@pytest.fixture
def phone(tmp_path):
    """A screen of 390 CSS pixels, of somebody who likes it dark."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with browser(tmp_path / "profile") as there:
        there.screen(PHONE, dark=True)
        yield there


def totals(phone):
    shown = phone.get("Object.fromEntries([...document.querySelectorAll('data')].map(it => [it.id, Number(it.value)]))")
    return {name.removeprefix("total-"): value for name, value in shown.items() if name.startswith("total-")}


def status(phone):
    return phone.get("document.getElementById('status').textContent")


def test_the_page_follows_a_run_to_its_end_by_itself_and_then_shows_the_next(operator, phone):
    """Nobody loads it again; what it shows is what `rotation status --json` tells."""
    url = operator.running.health_url + "/"
    with operator.held() as holding:
        phone.open(url)
        first = operator.data("run", "--ids", "1,2,3")["run_id"]
        phone.wait(f"document.body.innerText.includes('{first}')")
        phone.wait("document.getElementById('status').textContent === 'running'")
        assert totals(phone)["identities_scanned"] == 0
        assert phone.get(f"document.documentElement.scrollWidth <= {PHONE}")
        assert phone.get(BRIGHTNESS) < 150
        assert phone.get("document.title").startswith("0/3 running")
        phone.wait(r"/slots at work\s+1/.test(run.innerText)")
        eventually(lambda: holding() == 1)

    phone.wait("document.getElementById('status').textContent === 'complete'")
    phone.wait("document.querySelectorAll('svg').length === 3")  # the whole report, once its log lines are there
    printed = operator.data("status", first)
    assert totals(phone) == {name: printed[name] for name in ("planned", *TOTALS)}
    assert phone.get("document.querySelector('h1').textContent").endswith(printed["headline"])
    assert phone.get("announcement.textContent") == phone.get("document.querySelector('h1').textContent")
    assert phone.get(f"document.documentElement.scrollWidth <= {PHONE}")

    second = operator.data("run", "--ids", "4")["run_id"]
    phone.wait(f"document.title.includes('{second}')")
    assert phone.console == []


def test_a_failure_is_seen_with_what_to_do(operator, phone):
    lml = operator.running.cloud.lml_url
    httpx.post(f"{lml}/_faults", json=[{"path": "refresh", "status": 422, "times": 1}]).raise_for_status()
    run_id = operator.data("run", "--wait", "--ids", "5", code=1)["run_id"]

    phone.open(operator.running.health_url + "/")
    phone.wait(f"document.body.innerText.includes('rotation replay {run_id}')")

    assert phone.get("getComputedStyle(document.getElementById('now')).borderLeftColor") == "rgb(255, 123, 114)"
    assert re.search(r"422.*\s1\s+5\b", phone.get("document.getElementById('now').innerText"))


def test_a_program_hears_the_same_as_events(operator):
    """What `rotation status --json` prints, as soon as it is so."""
    run_id = operator.data("run", "--wait", "--ids", "6")["run_id"]

    with httpx.stream("GET", f"{operator.running.health_url}/events", timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        events = {}
        # The first look may be a second old, and of the run before.
        while events.keys() != {"run", "page", "beat"} or events["run"]["run_id"] != run_id:
            name, data = next(lines).removeprefix("event: "), next(lines).removeprefix("data: ")
            events[name] = json.loads(data)
            assert next(lines) == ""

    for name, data in events.items():
        jsonschema.validate(data, {**SHAPES, "$ref": f"#/events/{name}"})
    printed, asked = events["run"], operator.data("status", run_id)
    ignored = {"at", "beside"}
    assert {name: printed[name] for name in printed.keys() - ignored} == {
        name: asked[name] for name in asked.keys() - ignored
    }
    assert printed.keys() == asked.keys()


def test_a_page_of_another_site_cannot_read_it_under_a_name_of_its_own(operator):
    answer = httpx.get(f"{operator.running.health_url}/events", headers={"Host": "rebound.example"})
    assert answer.status_code == 400


def test_a_lost_connection_is_shown_with_the_time_of_the_last_update(operator, phone, tmp_path):
    url_file = tmp_path / "page.url"
    with chdir(operator.directory):
        process = spawn([sys.executable, "-m", "ops.report.live", "--url-file", str(url_file)], tmp_path / "page.log")
    try:
        phone.open(listening(process, "the page", url_file))
        phone.wait("seen.textContent.startsWith('last update')")
    finally:
        end([process])

    phone.wait("link.classList.contains('lost')")
    assert re.fullmatch(
        r"connection lost: this is the state of \d\d:\d\d:\d\d UTC; it is tried again", phone.get("link.textContent")
    )


@pytest.mark.parametrize("ending", ["its end", "Ctrl-C"])
def test_a_watched_run_s_page_keeps_its_last_state_when_the_command_has_ended(operator, phone, tmp_path, ending):
    """After Ctrl-C the run goes on, so that the page's last state is not its end."""
    words = [sys.executable, "-c", INTERRUPTIBLE, "run", "--ids", "7,8", "--watch"]
    with ExitStack() as ending_it, (tmp_path / "output").open("w+") as output:
        with operator.held():
            command = subprocess.Popen(words, cwd=operator.directory, stdout=output, stderr=output)  # noqa: S603 - our own command
            ending_it.callback(command.wait)
            ending_it.callback(command.kill)
            url = eventually(lambda: re.search(r"as a page: (\S+)\n", (tmp_path / "output").read_text()))[1]
            run_id = re.search(r"run_id (\S+),", (tmp_path / "output").read_text())[1]
            operator.set_deadline(run_id, time.time() + 3600)
            phone.open(url)
            phone.wait("document.getElementById('status').textContent === 'running'")
            phone.wait("link.textContent === 'live'")  # before, it has nobody who could tell it that the watching ends
            if ending == "Ctrl-C":
                command.send_signal(signal.SIGINT)
                phone.wait("link.textContent.startsWith('the watching has ended')")
        phone.wait("link.textContent.startsWith('the watching has ended')")

        assert command.wait(60) == (0 if ending == "its end" else 1)
        assert status(phone) == ("complete" if ending == "its end" else "running")
        assert not phone.get("link.classList.contains('lost')")
        assert "127.0.0.1" in url
