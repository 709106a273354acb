"""Answers `GET /library/rotation/{rotation_id}/tracks` and `GET /openapi.json` behind the HTTP API (PICKER.md)."""

from typing import TYPE_CHECKING, Any

from core.picker import api
from core.picker.resolver import PATIENCE
from handlers import picker_bootstrap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


_MARGIN = 1.0  # seconds, for the way back
_afterwards = picker_bootstrap.afterwards()


def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, object]:
    with _afterwards:
        return _answered(event, context.get_remaining_time_in_millis() / 1000)


def _answered(event: dict[str, Any], seconds: float) -> dict[str, object]:
    if event["routeKey"] == f"GET {api.OPENAPI_PATH}":
        reply = api.Reply(200, api.openapi(authorized=True))
    else:
        reply = picker_bootstrap.picker().reply_to(
            event["pathParameters"]["rotation_id"], patience=min(PATIENCE, seconds - _MARGIN)
        )
    headers = {"content-type": "application/json"}
    return {"statusCode": reply.status, "headers": headers, "body": reply.body.decode()}
