"""Work for Lambda's init phase, before the first event: it has a whole processor, an invocation only a share of one."""

import os
from collections.abc import Callable
from typing import Final

ON_LAMBDA: Final = "AWS_LAMBDA_RUNTIME_API" in os.environ
"""Whether Lambda's runtime imports this, or a test."""


def make_now(build: Callable[[], object]) -> None:
    """Make on Lambda what a first invocation would make. What this raises is the error of the init phase."""
    if ON_LAMBDA:
        build()
