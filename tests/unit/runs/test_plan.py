"""Messages on the wire, and the ids that go into them."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.lml.client import LML_REFRESH_BATCH_CAP
from core.runs.plan import MalformedMessageError, RefreshMessage, batches, decode, encode

IDS = st.integers(1, 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@st.composite
def messages(draw):
    ids = draw(st.lists(IDS, min_size=1, max_size=LML_REFRESH_BATCH_CAP, unique=True))
    return RefreshMessage(
        version=1,
        run_id=draw(st.none() | st.text("abc-:#1", min_size=1, max_size=128)),
        message=draw(st.integers(0, 10_000)),
        part=draw(st.integers(0, 100)),
        identity_ids=tuple(ids),
        failed=draw(st.dictionaries(st.sampled_from(ids), st.integers(1, 100))),
    )


@pytest.mark.parametrize(
    ("ids", "sizes"), [(125, [50, 50, 25]), (100, [50, 50]), (50, [50]), (1, [1]), (0, [])], ids=str
)
def test_ids_are_batched_in_their_order_and_no_batch_is_empty(ids, sizes):
    planned = list(batches(range(1, ids + 1), 50))

    assert [len(batch) for batch in planned] == sizes
    assert [identity for batch in planned for identity in batch] == list(range(1, ids + 1))


@pytest.mark.parametrize("size", [0, -1, 51])
def test_a_batch_that_lml_would_refuse_is_not_planned(size):
    with pytest.raises(ValueError, match=rf"1 to 50 ids, not {size}"):
        next(batches([1], size))


def test_ids_are_not_drawn_before_they_are_needed():
    """Memory does not grow with the number of ids."""
    ids = iter(range(1, 1_000_000))

    next(batches(ids, 50))

    assert next(ids) == 51


def test_the_body_is_what_the_design_documents():
    body = '{"version": 1, "run_id": "r", "message": 3, "part": 0, "identity_ids": [17, 18], "failed": {"17": 2}}'

    message = decode(body)

    assert message == RefreshMessage(version=1, run_id="r", message=3, part=0, identity_ids=(17, 18), failed={17: 2})
    assert json.loads(encode(message)) == json.loads(body)


def test_a_message_without_a_run_is_a_replay_by_hand():
    assert decode('{"version": 1, "identity_ids": [17]}').run_id is None


@given(messages())
def test_a_message_survives_the_queue(message):
    assert decode(encode(message)) == message


def body(**changes: object) -> str:
    fields = {"version": 1, "run_id": "r", "message": 0, "part": 0, "identity_ids": [1, 2], "failed": {"1": 1}}
    return json.dumps(fields | changes)


MALFORMED: Mapping[str, str] = {
    "no JSON": "{",
    "nothing": "",
    "a list": "[]",
    "null": "null",
    "a lone surrogate": "\ud800",
    "an escaped one": body(run_id="\ud800"),
    "deep nesting": "[" * 100_000,
    "deep nesting in a field": body()[:-1] + ', "x": ' + '{"x":' * 100_000,
    "another version": body(version=2),
    "a version as text": body(version="1"),
    "no ids": body(identity_ids=[], failed={}),
    "null for ids": body(identity_ids=None),
    "51 ids": body(identity_ids=list(range(1, 52))),
    "repeated ids": body(identity_ids=[1, 2, 1]),
    "id 0": body(identity_ids=[0, 1]),
    "a negative id": body(identity_ids=[-1, 1]),
    "a boolean id": body(identity_ids=[True, 1]),
    "a float id": body(identity_ids=[1.0]),
    "an id as text": body(identity_ids=["1"]),
    "a huge id": body(identity_ids=[1, 2**63]),
    "an absurd id": body(identity_ids=[1]).replace("[1]", f"[{'9' * 10_000}]"),
    "an unknown key": body(retries=1),
    "a failure of a stranger": body(failed={"3": 1}),
    "failed 0 times": body(failed={"1": 0}),
    "failed half a time": body(failed={"1": 0.5}),
    "failed absurdly often": body(failed={"1": 2**70}),
    "null for failures": body(failed=None),
    "a negative part": body(part=-1),
    "an absurd message number": body(message=10**2000),
    "an empty run id": body(run_id=""),
    "an endless run id": body(run_id="r" * 129),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_body_is_refused_with_a_reason(text):
    with pytest.raises(MalformedMessageError, match=r"not a refresh message: ."):
        decode(text)


@given(st.text() | JSON.map(json.dumps) | st.dictionaries(st.sampled_from([*json.loads(body())]), JSON).map(json.dumps))
def test_whatever_the_queue_holds_is_a_message_or_refused(text):
    """Never another error, which SQS would answer with a delivery again and again."""
    try:
        message = decode(text)
    except MalformedMessageError:
        return
    assert 1 <= len(message.identity_ids) <= LML_REFRESH_BATCH_CAP


@given(messages(), st.data())
def test_the_next_part_goes_on_with_what_is_left_in_its_order(message, data):
    left = data.draw(st.permutations(message.identity_ids).map(lambda ids: ids[: data.draw(st.integers(1, len(ids)))]))
    attempts = {identity: message.attempts[identity] for identity in left}

    following = message.next_part(attempts)

    assert (following.run_id, following.message, following.part) == (message.run_id, message.message, message.part + 1)
    assert list(following.attempts.items()) == list(attempts.items())
    assert decode(encode(following)) == following
