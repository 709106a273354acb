"""A complaint about JSON from elsewhere says in words what must be where."""

import pytest

from core.runs.plan import MalformedMessageError, decode


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[]", "it is a list, and must be an object"),
        ("null", "it is null, and must be an object"),
        ("{}", "Object missing required field version"),
        ('{"version":2,"run_id":"a","identity_ids":[1]}', "version: Invalid enum value 2"),
        (
            '{"version":1,"run_id":"a","identity_ids":["7"]}',
            "identity_ids[0] is a text, and must be a whole number",
        ),
        ('{"version":1,"run_id":"a","identity_ids":[0]}', "identity_ids[0] must be a whole number >= 1"),
        ('{"version":1,"run_id":"a","identity_ids":[]}', "identity_ids must be a list of length >= 1"),
        ('{"version":1,"run_id":7,"identity_ids":[1]}', "run_id is a whole number, and must be a text or null"),
        (
            '{"version":1,"run_id":"a","identity_ids":[1],"failed":{"x":1}}',
            "key in failed is a text, and must be a whole number",
        ),
        ('{"version":1,"run_id":"a","identity_ids":[1],"x":1}', "Object contains unknown field x"),
        ("", "Input data was truncated"),
    ],
)
def test_a_body_that_is_no_message_is_parked_with_a_reason_in_words(body, reason):
    with pytest.raises(MalformedMessageError) as refused:
        decode(body)

    assert str(refused.value) == f"not a refresh message: {reason}"
