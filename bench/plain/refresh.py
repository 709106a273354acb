"""As `dead_letter`, with the HTTP client for LML."""

import asyncio

import httpx

from .dead_letter import handler

__all__ = ["client", "handler", "runner"]

client = httpx.AsyncClient(timeout=None, trust_env=False)  # noqa: S113 - it sends nothing
runner = asyncio.Runner()
