"""Answers `GET /library/rotation/{rotation_id}/tracks` and `GET /openapi.json` behind the HTTP API (docs/design/picker.md#the-answer)."""

from typing import TYPE_CHECKING

from core.picker import api
from core.picker.resolver import PATIENCE
from handlers import picker_bootstrap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


_MARGIN = 1.0  # seconds, for the way back
_afterwards = picker_bootstrap.afterwards()


def handler(event: object, context: "LambdaContext") -> dict[str, object]:
    with _afterwards:
        return _answered(event, context.get_remaining_time_in_millis() / 1000)


def _answered(event: object, seconds: float) -> dict[str, object]:
    asked = api.asked(event)
    if isinstance(asked, api.Reply):
        return asked.for_lambda()
    return picker_bootstrap.picker().reply_to(*asked, patience=min(PATIENCE, seconds - _MARGIN)).for_lambda()
