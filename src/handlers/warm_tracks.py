"""Walks the active rows, so that no DJ meets a cold one; what does not fit goes on in its next invocation."""

from functools import partial
from typing import TYPE_CHECKING

import core.lml.http  # noqa: F401 - the walk asks LML: its client is loaded while the environment starts
from handlers import init, picker_bootstrap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


_picker = partial(picker_bootstrap.picker, asks_lml=True)


def handler(event: object, context: "LambdaContext") -> dict[str, object]:
    return _picker().warmer.invocation(
        event,
        time_left=lambda: context.get_remaining_time_in_millis() / 1000,
        hand_over=partial(picker_bootstrap.invoke_again, context.function_name),
    )


init.make_now(_picker)
