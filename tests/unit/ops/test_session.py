"""Sessions of AWS's SDK that read faster than its own: they have to know the same."""

import pytest
from botocore.session import Session

from ops.session import local_session, session_in


def test_all_services_are_known_since_a_login_may_ask_any_of_them():
    assert session_in("us-east-1").get_available_services() == Session().get_available_services()


@pytest.mark.parametrize("service", ["sqs", "sts"])
def test_a_service_is_described_as_the_sdk_describes_it(service):
    assert session_in("us-east-1").get_service_data(service) == Session().get_service_data(service)


def test_a_client_knows_its_pages_and_its_endpoint():
    client = local_session().create_client("dynamodb")

    assert client.can_paginate("scan")
    assert client.meta.endpoint_url == "https://dynamodb.us-east-1.amazonaws.com"
    assert session_in("cn-north-1").create_client("sqs").meta.endpoint_url == "https://sqs.cn-north-1.amazonaws.com.cn"
