"""Answers 404 for a row that the database does not have."""

import asyncio

import httpx

from .database import connect
from .shared import decode, secret

__all__ = ["client", "decode", "handler", "runner"]

key = secret("LML_API_KEY")
client = httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=None, trust_env=False)  # noqa: S113 - it sends nothing
runner = asyncio.Runner()


def handler(event: dict[str, dict[str, str]], _: object) -> dict[str, object]:
    query = connect().prepare("SELECT id, artist_name, album_title FROM wxyc_schema.rotation WHERE id = :id")
    rows = query.run(id=int(event["pathParameters"]["rotation_id"]))
    return {"statusCode": 200 if rows else 404, "headers": {"content-type": "application/json"}, "body": "{}"}
