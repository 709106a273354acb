"""What every function has."""

import os

import boto3
import sentry_sdk
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities import parameters

__all__ = ["logger", "metrics", "secret", "sentry_sdk", "table"]

logger = Logger(service="by-the-book")
metrics = Metrics(namespace="ByTheBook", service="by-the-book")
table = boto3.resource("dynamodb").Table(os.environ["LEDGER_TABLE"])


def secret(name: str) -> str:
    return str(parameters.get_secret(os.environ[f"{name}_SECRET_ARN"]))


sentry_sdk.init(dsn=secret("SENTRY_DSN"), traces_sample_rate=1.0)
