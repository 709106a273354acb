"""As `dead_letter`, with the HTTP client for LML."""

import os

import httpx

from .dead_letter import handler
from .shared import secret

__all__ = ["handler", "lml"]

lml = httpx.Client(
    base_url=os.environ["LIBRARY_METADATA_URL"], headers={"Authorization": f"Bearer {secret('LML_API_KEY')}"}
)
