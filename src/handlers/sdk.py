"""What every function has of AWS: how its clients are made, and the secrets that they fetch."""

import os
from typing import Final

import boto3
from botocore.config import Config

from core.settings import SECRETS

CLIENT: Final = Config(user_agent="rotation-artist-backfill")
"""The name that CloudTrail shows; botocore would make up a longer one for every call, a tenth of what a call costs."""
hidden: Final = [os.environ.get(name, "") for name in SECRETS]
"""Values that no log line and no event may hold."""


def secret(arn: str, _anew: bool) -> str:
    """Fetch a secret, and hide it from now on."""
    hidden.append(str(boto3.client("secretsmanager", config=CLIENT).get_secret_value(SecretId=arn)["SecretString"]))
    return hidden[-1]
