"""Answers the routes of the HTTP API: a row's tracks, the OpenAPI document (docs/design/picker.md#the-answer)."""

from typing import TYPE_CHECKING

from core.picker import api
from core.picker.resolver import PATIENCE
from handlers import init, picker_bootstrap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


_MARGIN = 1.0  # seconds, for the way back
_afterwards = picker_bootstrap.afterwards()


def handler(event: object, context: "LambdaContext") -> dict[str, object]:
    with _afterwards:
        asked = api.asked(event)
        if isinstance(asked, api.ApiReply):  # needs no tracks
            return asked.for_lambda()
        turned_away = api.turned_away(event, needs_decision=not picker_bootstrap.picker().local_dev)
        if turned_away is not None:
            return turned_away.for_lambda()
        patience = min(PATIENCE, context.get_remaining_time_in_millis() / 1000 - _MARGIN)
        return picker_bootstrap.picker().reply_to(*asked, patience=patience).for_lambda()


init.make_now(picker_bootstrap.picker)
