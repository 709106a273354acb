"""What every function has: the SDK, Sentry, Powertools' log and metrics, msgspec."""

import os

import boto3
import msgspec
import sentry_sdk
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

__all__ = ["decode", "dynamodb", "logger", "metrics", "msgspec", "secret", "sentry_sdk"]

decode = msgspec.json.Decoder(dict[str, object]).decode
dynamodb = boto3.client("dynamodb")
secrets = boto3.client("secretsmanager")
logger = Logger(service="plain")
metrics = EphemeralMetrics(namespace="Plain", service="plain")


def secret(name: str) -> str:
    return secrets.get_secret_value(SecretId=os.environ[f"{name}_SECRET_ARN"])["SecretString"]


sentry_sdk.init(
    dsn=secret("SENTRY_DSN"),
    release="",
    server_name="plain",
    trace_lifecycle="stream",
    traces_sample_rate=1.0,
    default_integrations=False,
    auto_enabling_integrations=False,
    auto_session_tracking=False,
    enable_backpressure_handling=False,
    send_client_reports=False,
    include_local_variables=False,
    max_breadcrumbs=0,
)
