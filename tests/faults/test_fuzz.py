"""Bad input of every kind: a clear refusal, or a parked message with its reason; never another error."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import settings as environments
from core.lml.answer import read_answer
from core.runs import request
from core.runs.plan import MalformedMessageError, decode, encode

FEW, MANY = 150, 5_000

texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def like(known: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[dict[str, object]]:
    """Objects with some of these keys, right or wrong, and a stranger among them now and then."""
    wrong = st.fixed_dictionaries({}, optional={name: value | json_values for name, value in known.items()})
    return st.builds(
        lambda base, more: more | base, wrong, st.just({}) | st.dictionaries(texts, json_values, max_size=1)
    )


ids = st.lists(st.integers(-1, 60) | st.integers(), max_size=52)
times = st.sampled_from(("2026-02-03T04:30:00Z", "<aws.scheduler.scheduled-time>", "0001-01-01T00:00:00+23:59"))
starts = like(
    {"scheduled_time": times, "dry_run": st.booleans(), "force": st.booleans(), "identity_ids": ids, "replay_of": texts}
)
messages = like(
    {
        "version": st.just(1),
        "run_id": texts,
        "message": st.integers(),
        "part": st.integers(),
        "identity_ids": ids,
        "failed": st.dictionaries(st.integers(-1, 60).map(str), st.integers(-1, 5), max_size=3),
    }
)
artists = like({"external_id": texts, "outcome": st.sampled_from(("success", "error", "not_implemented"))})
sources = like({"release_outcome": st.sampled_from(("success", "error")), "artists": st.lists(artists, max_size=3)})
results = like(
    {
        "identity_id": st.integers(1, 8),
        "status": st.sampled_from(("warmed", "not_found", "not_implemented", "error", "new")),
        "sources": st.dictionaries(texts, sources, max_size=2),
        "message": texts,
    }
)
answers = like({"results": st.lists(results, max_size=10)}) | json_values
names = st.sampled_from([variable.name for variable in environments.VARIABLES])
values = texts | st.sampled_from(
    ("1", "0", "50", "51", "-1", "1.5", "https://lml.example/api/v1/", "verify", "disable")
)
environs = st.dictionaries(names, values)


def cases(many: bool) -> settings:
    return settings(max_examples=MANY if many else FEW, deadline=None)


@pytest.fixture(params=[pytest.param(False, id="few"), pytest.param(True, id="many", marks=pytest.mark.long)])
def often(request):
    return cases(request.param)


def outcome(act, refusal):
    """What comes of an act: its result, or the text of the one error that it may raise."""
    try:
        return act()
    except refusal as error:
        return str(error)


def test_any_start_is_read_or_refused_by_key(often):
    @often
    @given(starts | json_values)
    def check(event):
        read = outcome(lambda: request.read_start(event), request.StartError)
        if isinstance(read, str):
            assert read
        else:
            assert not (read.identity_ids and read.replay_of)
            assert all(identity > 0 for identity in read.identity_ids or ())

    check()


def test_any_body_is_read_or_has_a_reason_to_be_parked(often):
    @often
    @given(messages.map(json.dumps) | json_values.map(json.dumps) | st.text(max_size=200))
    def check(body):
        message = outcome(lambda: decode(body), MalformedMessageError)
        if isinstance(message, str):
            assert message
        else:
            assert 1 <= len(set(message.identity_ids)) == len(message.identity_ids) <= 50
            assert decode(encode(message)) == message

    check()


def test_any_answer_gives_each_id_one_verdict_or_one_reason(often):
    asked = range(1, 9)

    @often
    @given(answers)
    def check(body):
        reading = read_answer(asked, body)
        assert reading.verdicts.keys() | reading.failed.keys() == set(asked)
        assert not reading.verdicts.keys() & reading.failed.keys()
        for verdict in reading.verdicts.values():
            assert verdict.totals.identities_scanned == verdict.totals.identities_resolved == 1
        assert all(reading.failed.values())

    check()


def test_any_environment_makes_settings_or_names_what_is_wrong(often):
    def no_secret(arn: str, _anew: bool) -> str:
        raise AssertionError(arn)

    @often
    @given(environs, st.sampled_from((environments.fan_out, environments.refresh, environments.dead_letter)))
    def check(environ, build):
        built = outcome(lambda: build(environ, no_secret), environments.SettingsError)
        if isinstance(built, str):
            known = {variable.name for variable in environments.VARIABLES}
            assert {line.split(" ")[0] for line in built.splitlines()} <= known

    check()
