"""The secrets of an environment: given, or fetched when they are first needed."""

import os
from functools import cache
from typing import TYPE_CHECKING, Final

from core.aws import client as aws
from core.aws import secrets
from core.environment import hidden_texts
from core.settings import SECRETS

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

hidden: Final = [text for name in SECRETS for text in hidden_texts(os.environ.get(name, ""))]
"""Values that no log line and no event may hold."""


@cache
def _client() -> "SecretsManagerClient":
    return aws.create_client("secretsmanager")


def fetch(arn: str, _anew: bool) -> str:
    """Read a secret's current value; raises SecretUnavailableError."""
    text = secrets.fetch(_client(), arn)
    hidden.extend(hidden_texts(text))
    return text
