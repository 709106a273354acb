"""No secret leaves: marked ones are planted wherever a setting may hold one, and all that left is searched for them.

A secret goes to whom it is for and to nobody else: LML's key to LML, GitHub's token to GitHub, the password to
PostgreSQL, and the key in Sentry's DSN into the header of Sentry's own envelopes.
"""

import base64
import json
import random
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import quote

import boto3
import httpx
import pytest
from msgspec.structs import replace

from handlers import dead_letter, fan_out, refresh
from handlers import secrets as secrets_of_handlers
from local import sentry, serve
from local.lml import app
from local.lml.limits import Limits
from tests.eventually import eventually
from tests.integration.accounts import IDS, TABLE, WORLD, Book, StandIn, event_of
from tests.integration.build import Context, create_table
from tests.wire import Wire, reply

pytest_plugins = ("tests.integration.fixtures",)

FEW = IDS[:2]


def marked(name: str, around: str = "") -> str:
    """A secret with a core that cannot be mistaken, between characters that quoting and encoding change."""
    core = "".join(random.Random(name).choices("abcdefghjkmnpqrstuvwxyz23456789", k=28))  # noqa: S311
    return f"{around}{core}{around}"


KEY = marked("lml", "/+=")
TOKEN = marked("github", "_+")
PUBLIC = marked("sentry")
PASSWORD = marked("database", "'\"\\%/+ ")
PLANTED = (KEY, TOKEN, PUBLIC, PASSWORD)


def traces(secret: str) -> list[str]:
    """What a text holds that holds a secret: its core however quoted, in base64 at any offset, in hexadecimal."""
    core = secret.strip("/+=_'\"\\% ").encode()
    found = [core.decode(), core.hex()]
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + core).decode()
        own = encoded[(0, 2, 3)[before] : 4 * ((before + len(core)) // 3)]  # that no other byte has a part in
        found += [own, own.translate(str.maketrans("+/", "-_"))]
    return found


def leaks(left: Mapping[str, str], secrets: Sequence[str]) -> list[tuple[str, str]]:
    """Where which secret is found."""
    return [(at, it) for at, text in left.items() for it in secrets if any(trace in text for trace in traces(it))]


def in_base64(before: bytes, secret: str) -> str:
    return base64.b64encode(before + secret.encode() + b"after").decode()


WAYS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": repr,
    "json": json.dumps,
    "url": partial(quote, safe=""),
    "hex": lambda secret: secret.encode().hex(),
    **{f"base64 after {n}": partial(in_base64, b"x" * n) for n in range(3)},
    "base64 for a url": lambda secret: base64.urlsafe_b64encode(f"user:{secret}".encode()).decode(),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_search_finds_a_secret_however_it_is_written(way):
    for secret in PLANTED:
        assert leaks({"there": f"a text with {way(secret)} in it"}, PLANTED) == [("there", secret)]


@dataclass
class Job:
    """The functions in an environment full of secrets, and everything that has left them."""

    book: Book
    environment: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    sentry_url: str
    secrets: tuple[str, ...]
    outputs: dict[str, str] = field(default_factory=dict)

    def invoke(self, handler: Callable[..., object], event: object) -> None:
        """Let a function work; what Lambda would tell of its answer or error is kept."""
        try:
            text_out = json.dumps(handler(event, Context()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the log and to the caller
            text_out = "".join(traceback.format_exception(error)) + repr(error)
        self.outputs[f"answer {len(self.outputs)}"] = text_out

    def start(self, **event: object) -> None:
        self.invoke(fan_out.handler, event)

    def deliver_all(self) -> None:
        for body in self.book.waiting():
            self.invoke(refresh.handler, event_of(body))

    def left(self) -> dict[str, str]:
        """Whatever somebody else can read now, by where."""
        out, err = self.capfd.readouterr()
        scan = self.book.sdk.dynamodb.get_paginator("scan").paginate(TableName=TABLE)
        ledger = [item for page in scan for item in page["Items"]]
        envelopes = sentry.decode(httpx.get(f"{self.sentry_url}/_envelopes").content)
        for envelope in envelopes:
            envelope.header.get("trace", {}).pop("public_key", None)
        queues = {name: self._messages(url) for name, url in self.book.urls.items()}
        sent = [(envelope.header, [(item.header, item.payload) for item in envelope.items]) for envelope in envelopes]
        texts = {"stdout": out, "stderr": err, "ledger": f"{ledger}", "Sentry": f"{sent}", **queues, **self.outputs}
        return {at: text for at, text in texts.items() if text}

    def _messages(self, url: str) -> str:
        found = []
        ask = partial(self.book.sqs.receive_message, QueueUrl=url, MessageAttributeNames=["All"])
        while messages := ask(AttributeNames=["All"], VisibilityTimeout=60).get("Messages"):
            found += messages
        return f"{found}" if found else ""


@pytest.fixture(scope="module")
def keyed():
    with serve.in_thread(app.build(WORLD, token=KEY, limits=Limits.instant())) as url:
        stand_in = StandIn(url)
        yield stand_in
        stand_in.close()


@pytest.fixture(scope="module")
def sentry_url():
    with serve.in_thread(sentry.build()) as url:
        yield url


@pytest.fixture(params=["by value", "by ARN"])
def planted(request):
    """Where the secrets are."""
    return request.param


@pytest.fixture
def job(planted, book, keyed, sentry_url, monkeypatch, capfd):  # noqa: PLR0917 - one fixture for each who hears of a run
    """Plant every secret, in the environment or in Secrets Manager."""
    keyed.reset()
    httpx.post(f"{sentry_url}/_reset").raise_for_status()
    password = book.rows.environment["DB_PASSWORD"]
    secrets = {
        "LML_API_KEY": KEY,
        "GITHUB_TOKEN": TOKEN,
        "SENTRY_DSN": sentry.dsn(sentry_url).replace("public", PUBLIC),
        "DB_PASSWORD": password,
    }
    variables = book.environment() | {
        "LIBRARY_METADATA_URL": keyed.url,
        "CLOCK_SPEED": "1000",
        "REFRESH_MAX_ATTEMPTS": "1",  # a back-off is hundreds of looks at the clock
    }
    if planted == "by value":
        variables |= secrets
        monkeypatch.setattr(secrets_of_handlers, "hidden", list(secrets.values()))  # read when the function is imported
    else:
        lifecycle = boto3.client("secretsmanager", region_name="us-east-1")
        for name, value in secrets.items():
            variables[f"{name}_SECRET_ARN"] = lifecycle.create_secret(Name=name, SecretString=value)["ARN"]
            variables[name] = ""
        monkeypatch.setattr(secrets_of_handlers, "hidden", [])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        for built in (fan_out.build, refresh.build, dead_letter.build):
            built.cache_clear()
            stack.callback(built.cache_clear)
        stack.callback(_close)
        known = password if len(password) > 15 else PASSWORD  # one of a borrowed server may be an ordinary word
        yield Job(book, monkeypatch, capfd, sentry_url, (*PLANTED, known))


def _close() -> None:
    """Close what Lambda would let go with the environment."""
    if fan_out.build.cache_info().currsize:
        fan_out.build().gate.args[0].close()
    if refresh.build.cache_info().currsize:
        refresh.build().worker.lml.close()


# What happens


def a_good_run(job, keyed):  # noqa: ARG001
    job.start(identity_ids=list(FEW))
    job.deliver_all()


def lml_refuses_the_key(job, keyed):
    keyed.fault(path="refresh", times=None, status=401, body=f'{{"detail": "Bearer {KEY} is not known"}}')
    a_good_run(job, keyed)


def lml_fails_and_repeats_the_key(job, keyed):
    keyed.fault(path="refresh", times=None, status=500, body=f"Traceback: headers={{'authorization': 'Bearer {KEY}'}}")
    a_good_run(job, keyed)


def lml_answers_with_the_key_in_it(job, keyed):
    keyed.fault(path="refresh", times=2, status=200, body=f"<html>{KEY}</html>")
    keyed.fault(path="refresh", times=None, result={"status": KEY, "message": KEY})
    a_good_run(job, keyed)


def lml_fails_an_id_with_the_key_for_a_reason(job, keyed):
    keyed.fault(path="refresh", times=None, result={"status": "error", "sources": None, "message": KEY})
    a_good_run(job, keyed)


def lml_repeats_the_key_escaped(job, keyed):
    escaped = "".join(f"\\u{ord(character):04x}" for character in KEY)
    result = f'{{"identity_id": {FEW[0]}, "status": "error", "sources": null, "message": "{"x" * 100}{escaped}"}}'
    keyed.fault(path="refresh", times=2, status=200, body=f'{{"results": [{result}]}}')
    keyed.fault(path="refresh", times=None, status=400, body=f"key={quote(KEY, safe='')}; {escaped}")
    a_good_run(job, keyed)


def a_reason_in_the_ledger_holds_the_key(job, keyed):  # noqa: ARG001
    job.start(identity_ids=list(FEW))
    lifecycle = fan_out.build().lifecycle
    (run_id,) = {json.loads(body)["run_id"] for body in job.book.waiting()}
    lifecycle.stop(run_id, "by hand", f"somebody pasted {KEY} and {quote(KEY, safe='')}")


def github_refuses_the_token_and_lml_the_key(job, keyed):
    keyed.fault(path="health", fields={"commit_sha": "f00"})
    keyed.fault(path="probe", status=403, body=f"not {KEY}")
    with Wire(reply(401, f'{{"message": "Bad credentials: {TOKEN}"}}'.encode())) as github:
        built = fan_out.build()
        asks = partial(built.gate, github=replace(built.gate.keywords["github"], url=github.url))
        with job.environment.context() as patch:
            patch.setattr(fan_out, "build", lambda: replace(built, gate=asks))
            job.start(identity_ids=list(FEW))
    assert github.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def the_database_refuses_the_password(job, keyed):  # noqa: ARG001
    job.environment.setenv("DB_PASSWORD", PASSWORD)
    job.start()


def the_database_is_not_there(job, keyed):  # noqa: ARG001
    job.environment.setenv("DB_PORT", "1")
    job.start()


def the_ledger_is_gone_in_the_middle(job, keyed):  # noqa: ARG001
    job.start(identity_ids=list(FEW))
    job.book.sdk.dynamodb.delete_table(TableName=TABLE)
    job.deliver_all()
    create_table(job.book.sdk.dynamodb)


def messages_are_parked_given_up_and_replayed(job, keyed):  # noqa: ARG001
    job.start(identity_ids=list(FEW))
    (body,) = job.book.waiting()
    job.invoke(refresh.handler, event_of("no json"))
    job.invoke(refresh.handler, event_of(json.dumps({"version": 1, "identity_ids": list(FEW)})))
    job.invoke(dead_letter.handler, event_of(body))


def no_secret_can_be_fetched(job, keyed):  # noqa: ARG001
    for name in ("LML_API_KEY", "SENTRY_DSN", "DB_PASSWORD"):
        job.environment.setenv(name, "")
        job.environment.setenv(f"{name}_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:123456789012:secret:gone")
    job.start()


def settings_are_wrong(job, keyed):  # noqa: ARG001
    wrong = {
        "SENTRY_DSN": f"https://{PUBLIC}@",
        "LIBRARY_METADATA_URL": f"https://reader:{PASSWORD}@lml.example",
        "DB_PORT": "x",
    }
    for name, value in wrong.items():
        job.environment.setenv(name, value)
    job.start()
    job.invoke(refresh.handler, event_of("{}"))


def a_key_cannot_be_a_header(job, keyed):  # noqa: ARG001
    job.environment.setenv("LML_API_KEY", f"{KEY}\nX-More: {KEY}")
    job.environment.setenv("SENTRY_DSN", f"no DSN but {PUBLIC}")
    job.start(identity_ids=list(FEW))


EVENTS = (
    a_good_run,
    lml_refuses_the_key,
    lml_fails_and_repeats_the_key,
    lml_answers_with_the_key_in_it,
    lml_fails_an_id_with_the_key_for_a_reason,
    lml_repeats_the_key_escaped,
    a_reason_in_the_ledger_holds_the_key,
    github_refuses_the_token_and_lml_the_key,
    the_database_refuses_the_password,
    the_database_is_not_there,
    the_ledger_is_gone_in_the_middle,
    messages_are_parked_given_up_and_replayed,
    no_secret_can_be_fetched,
    settings_are_wrong,
    a_key_cannot_be_a_header,
)


@pytest.mark.parametrize("happens", EVENTS, ids=lambda act: act.__name__.replace("_", " "))
def test_no_secret_leaves_the_functions_whatever_happens(job, keyed, happens):
    happens(job, keyed)

    left = job.left()
    assert leaks(left, job.secrets) == [], {at: left[at] for at, _ in leaks(left, job.secrets)}


# What the search would find


def printed(job, text):  # noqa: ARG001
    sys.stdout.write(text)


def complained(job, text):  # noqa: ARG001
    sys.stderr.write(text)


def kept(job, text):
    job.book.table.put({"pk": "RUN#leak", "sk": "RUN", "reason": text}, "attribute_not_exists(pk)")


def sent(job, text):
    job.book.sqs.send_message(QueueUrl=job.book.urls["refresh"], MessageBody=text)


def sent_beside(job, text):
    reason = {"reason": {"DataType": "String", "StringValue": text}}
    job.book.sqs.send_message(QueueUrl=job.book.urls["parked"], MessageBody="x", MessageAttributes=reason)


def reported(job, text):
    item = json.dumps({"message": text}).encode()
    envelope = b'{}\n{"type":"event","length":%d}\n%s\n' % (len(item), item)
    httpx.post(f"{job.sentry_url}/api/1/envelope/", content=envelope).raise_for_status()


def raised(job, text):
    def handler(_event, _context):
        raise RuntimeError(text)

    job.invoke(handler, {})


LEAKS = {
    "stdout": printed,
    "stderr": complained,
    "ledger": kept,
    "refresh": sent,
    "parked": sent_beside,
    "Sentry": reported,
    "answer 0": raised,
}


@pytest.mark.parametrize("planted", ["by value"], indirect=True)
@pytest.mark.parametrize("where", LEAKS)
def test_a_leak_would_be_found_wherever_it_is(job, where):
    """Else the tests above would prove nothing."""
    LEAKS[where](job, f"made on purpose: {KEY}")

    assert leaks(job.left(), job.secrets) == [(where, KEY)]


# What an operator sees


def test_no_secret_is_in_an_operator_s_pages_answers_and_logs(operator, tmp_path):
    target, cloud = operator.target, operator.running.cloud
    lifecycle = target.client("secretsmanager")
    key = lifecycle.get_secret_value(SecretId=target.names["LmlApiKeySecret"])["SecretString"]
    secrets = (key, cloud.database.password)
    faults = [
        {"path": "refresh", "times": 6, "status": 500, "body": f"Bearer {key}"},
        {"path": "refresh", "times": None, "status": 401, "body": f"not {key}"},
    ]
    httpx.post(f"{cloud.lml_url}/_faults", json=faults).raise_for_status()
    run_id = operator.data("run", "--ids", "5,6,7,8,9")["run_id"]
    eventually(lambda: operator.data("status", run_id)["closed_at"])
    httpx.post(f"{cloud.lml_url}/_reset").raise_for_status()
    target.client("sqs").send_message(QueueUrl=target.names["RefreshQueue"], MessageBody="no json")
    eventually(lambda: operator.data("letters")["letters"])

    page = str(tmp_path / "page.html")
    asked = (
        ("status", run_id),
        ("report", run_id, "-o", page),
        ("stop", run_id),
        ("replay", run_id, "--wait"),
        ("letters",),
        ("letters", "--discard", "--yes"),
    )
    left = {f"{words}": operator.rotation(*words).output for words in asked}
    left |= {f"{words} --json": operator.rotation(*words, "--json").output for words in asked}
    left["page"] = (tmp_path / "page.html").read_text(encoding="utf-8")
    for group in ("FanOutLogs", "RefreshLogs", "DeadLetterLogs"):
        pages = target.client("logs").get_paginator("filter_log_events").paginate(logGroupName=target.names[group])
        left[group] = "".join(event["message"] for page in pages for event in page["events"])
    scan = target.client("dynamodb").get_paginator("scan").paginate(TableName=target.names["LedgerTable"])
    left["ledger"] = f"{[item for page in scan for item in page['Items']]}"
    left["Sentry"] = httpx.get(f"{cloud.sentry_url}/_envelopes").text
    left["sam-env.json"] = (operator.directory / ".local/sam-env.json").read_text()

    assert "answered 500: Bearer ***" in left["RefreshLogs"]
    assert leaks(left, secrets) == []
