"""The secrets of an environment: given, or fetched when they are first needed."""

import os
from typing import Final

import boto3

from core.aws import secrets
from core.aws.client import CLIENT
from core.environment import hidden_texts
from core.settings import SECRETS

hidden: Final = [text for name in SECRETS for text in hidden_texts(os.environ.get(name, ""))]
"""Values that no log line and no event may hold."""


def fetch(arn: str, _anew: bool) -> str:
    """Read a secret's current value; raises SecretUnavailableError."""
    text = secrets.fetch(boto3.client("secretsmanager", config=CLIENT), arn)
    hidden.extend(hidden_texts(text))
    return text
