"""Answers `GET /library/rotation/{rotation_id}/tracks` and `GET /openapi.json` behind the HTTP API (PICKER.md)."""

from typing import TYPE_CHECKING, Any

from core.picker import api
from handlers import picker_bootstrap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], _context: "LambdaContext") -> dict[str, object]:
    if event["routeKey"] == f"GET {api.OPENAPI_PATH}":
        reply = api.Reply(200, api.openapi(authorized=True))
    else:
        reply = picker_bootstrap.picker().reply_to(event["pathParameters"]["rotation_id"])
    headers = {"content-type": "application/json"}
    return {"statusCode": reply.status, "headers": headers, "body": reply.body.decode()}
