"""A connection to PostgreSQL."""

import os
from typing import Any

from pg8000 import native  # type: ignore[import-untyped]  # ships no type information

from .shared import secret

password = secret("DB_PASSWORD")


def connect() -> Any:  # noqa: ANN401 - as above
    return native.Connection(
        os.environ["DB_USERNAME"],
        host=os.environ["DB_HOST"],
        port=int(os.environ["DB_PORT"]),
        database=os.environ["DB_NAME"],
        password=password,
        ssl_context=False,
    )
