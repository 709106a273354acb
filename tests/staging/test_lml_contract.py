"""The LML of staging does what the job relies on: `rotation smoke` as tests, against STAGING_LML_URL.

STAGING_LML_API_KEY is its token. STAGING_IDENTITY_ID is the one id that is really refreshed; without it 1, which has to
be answered well too, known or not.
"""

import os

import pytest

from ops import smoke

URL = os.environ.get("STAGING_LML_URL", "")
pytestmark = [pytest.mark.staging, pytest.mark.skipif(not URL, reason="STAGING_LML_URL is not set")]


@pytest.mark.parametrize("check", smoke.CHECKS)
def test_lml_does_what_the_job_relies_on(check):
    key, identity = os.environ.get("STAGING_LML_API_KEY", ""), os.environ.get("STAGING_IDENTITY_ID", "1")
    contract = smoke.of_url(URL, key, int(identity))

    finding = contract.checks()[check]()

    assert finding.ok, f"{finding.reason}; {finding.advice}"
