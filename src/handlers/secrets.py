"""The secrets of an environment: given, or fetched when they are first needed."""

import os
from typing import Final

import boto3

from core.aws.client import CLIENT
from core.settings import SECRETS

hidden: Final = [os.environ.get(name, "").strip() for name in SECRETS]
"""Values that no log line and no event may hold."""


def fetch(arn: str, _anew: bool) -> str:
    answer = boto3.client("secretsmanager", config=CLIENT).get_secret_value(SecretId=arn)
    hidden.append(str(answer["SecretString"]).strip())  # as it is used
    return hidden[-1]
