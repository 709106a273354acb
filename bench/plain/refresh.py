"""As `dead_letter`, with the HTTP client for LML."""

import asyncio

import httpx

from .dead_letter import handler
from .shared import secret

__all__ = ["client", "handler", "runner"]

key = secret("LML_API_KEY")
client = httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=None, trust_env=False)  # noqa: S113 - it sends nothing
runner = asyncio.Runner()
