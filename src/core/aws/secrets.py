"""Secrets Manager, and in words why a secret cannot be read."""

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from core.environment import SecretUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

# Secrets Manager answers ResourceNotFoundException also for a secret that has no value yet, as the template makes them,
# and AccessDeniedException also where it is KMS that denies (GetSecretValue, API reference).
_WHY: Final = {
    "AccessDeniedException": (
        "this role may not read it; allow secretsmanager:GetSecretValue on it, and kms:Decrypt if it has its own key"
    ),
    "DecryptionFailure": "its KMS key cannot decrypt it; look whether the key is enabled",
    "InvalidRequestException": "it is scheduled for deletion or cannot be read now; restore it, or name another one",
    "ResourceNotFoundException": "it was never filled or does not exist; fill it, as the output of the stack says",
}


def fetch(client: "SecretsManagerClient", arn: str) -> str:
    """Return the text of a secret's current version; raises SecretUnavailableError."""
    try:
        answer = client.get_secret_value(SecretId=arn)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        why = _WHY.get(code, "Secrets Manager gave no value; try again")
        raise SecretUnavailableError(f"{why} ({code})", may_pass=code not in _WHY) from None
    except BotoCoreError as error:
        why = f"Secrets Manager cannot be reached ({type(error).__name__}); try again"
        raise SecretUnavailableError(why, may_pass=True) from None
    if "SecretString" not in answer:
        raise SecretUnavailableError("it is binary; store it as text")
    return answer["SecretString"]
