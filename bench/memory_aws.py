"""DynamoDB and SQS inside the process, under the SDK's own clients: nothing but the network is left out of a call.

Requests are signed and written, answers read and parsed, as in Lambda. Items are kept in a file, so that a million ids
do not count as the job's memory. Of conditions one is looked at, whether the item of an update is there: nobody else
is at work.
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import boto3
import msgspec
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

TABLE: Final = "ledger"
QUEUE_URL: Final = "http://127.0.0.1:9/queue"
PAGE: Final = 1_000_000
"""Bytes of items in one page of a query."""
Item: TypeAlias = dict[str, Any]
Call: TypeAlias = tuple[str, dict[str, Any]]
"""An operation and its parameters."""
_REFUSED: Final[Item] = {"__type": "ConditionalCheckFailedException"}
_CLAUSES: Final = re.compile(r"\b(SET|ADD|REMOVE) (.+?)(?= SET | ADD | REMOVE |$)")


class MemoryAws:
    """A table, a queue that forgets, and clients of both. Counts every call, and hands it to `note`."""

    def __init__(self, file: Path, note: Callable[[Call], None] = lambda _: None, config: Config | None = None) -> None:
        self.counted: Counter[str] = Counter()
        self._note = note
        self._items = sqlite3.connect(file, isolation_level=None)
        self._items.execute("PRAGMA journal_mode = OFF")
        self._items.execute("PRAGMA synchronous = OFF")
        self._items.execute("CREATE TABLE items (pk, sk, item, PRIMARY KEY (pk, sk)) WITHOUT ROWID")
        session = boto3.Session("none", "none", region_name="us-east-1")
        self.dynamodb: DynamoDBClient = session.client("dynamodb", endpoint_url="http://127.0.0.1:9", config=config)
        self.sqs: SQSClient = session.client("sqs", endpoint_url="http://127.0.0.1:9", config=config)
        for client in (self.dynamodb, self.sqs):
            client.meta.events.register("provide-client-params", self._asked)
            client.meta.events.register("before-send", self._answer)  # type: ignore[arg-type]  # it may return an answer

    def close(self) -> None:
        self._items.close()

    def replay(self, call: Call) -> None:
        """Make a call of another one again, by the client's method of that name."""
        operation, parameters = call
        client = self.sqs if operation.startswith("SendMessage") else self.dynamodb
        with suppress(ClientError):
            getattr(client, METHODS[operation])(**parameters)

    def forget(self, pk: str) -> None:
        """Drop the items of a partition."""
        self._items.execute("DELETE FROM items WHERE pk = ?", (pk,))

    def _asked(self, params: dict[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401 - botocore's
        self.counted[model.name] += 1
        self._note((model.name, params))

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        operation = request.headers["X-Amz-Target"].decode().rpartition(".")[2]  # type: ignore[union-attr]  # bytes
        body = request.body if isinstance(request.body, bytes) else b""
        answer = getattr(self, f"_{METHODS[operation]}")(msgspec.json.decode(body))
        status = 400 if answer is _REFUSED else 200
        return AWSResponse(request.url, status, HTTPHeaders(), _Raw(msgspec.json.encode(answer)))

    def _get_item(self, asked: Item) -> Item:
        item = self._read(asked["Key"])
        return {"Item": item} if item else {}

    def _put_item(self, asked: Item) -> Item:
        self._write(asked["Item"])
        return {}

    def _update_item(self, asked: Item) -> Item:
        item = self._read(asked["Key"])
        if item is None:
            return _REFUSED
        names, values = asked.get("ExpressionAttributeNames", {}), asked["ExpressionAttributeValues"]
        for verb, changes in _CLAUSES.findall(asked["UpdateExpression"]):
            for change in changes.split(", "):
                name, _, value = change.replace(" = ", " ").partition(" ")
                _VERBS[verb](item, names.get(name, name), values.get(value))
        self._write(item)
        return {}

    def _delete_item(self, asked: Item) -> Item:
        key = asked["Key"]
        self._items.execute("DELETE FROM items WHERE pk = ? AND sk = ?", (key["pk"]["S"], key["sk"]["S"]))
        return {}

    def _transact_write_items(self, asked: Item) -> Item:
        for action in asked["TransactItems"]:
            if "Update" in action:
                self._update_item(action["Update"])
            else:
                self._delete_item(action["Delete"])
        return {}

    def _batch_write_item(self, asked: Item) -> Item:
        for request in asked["RequestItems"][TABLE]:
            self._write(request["PutRequest"]["Item"])
        return {"UnprocessedItems": {}}

    def _query(self, asked: Item) -> Item:
        values = asked["ExpressionAttributeValues"]
        pk, prefix = values[":pk"]["S"], values[":prefix"]["S"]
        after = asked.get("ExclusiveStartKey", {"sk": {"S": ""}})["sk"]["S"]
        page: list[msgspec.Raw] = []
        size, last = 0, after
        for sk, text in self._following(pk, prefix, after):
            if size + len(text) > PAGE:
                return {"Items": page, "Count": len(page), "LastEvaluatedKey": {"pk": {"S": pk}, "sk": {"S": last}}}
            page.append(msgspec.Raw(text))
            size, last = size + len(text), sk
        return {"Items": page, "Count": len(page)}

    def _send_message_batch(self, asked: Item) -> Item:
        taken = [{"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "-"} for entry in asked["Entries"]]
        return {"Successful": taken}

    def _send_message(self, _: Item) -> Item:
        return {"MessageId": "m", "MD5OfMessageBody": "-"}

    def _following(self, pk: str, prefix: str, after: str) -> Iterator[tuple[str, bytes]]:
        found = self._items.execute("SELECT sk, item FROM items WHERE pk = ? AND sk > ? ORDER BY sk", (pk, after))
        return ((sk, text) for sk, text in found if sk.startswith(prefix))

    def _read(self, key: Item) -> Item | None:
        where = (key["pk"]["S"], key["sk"]["S"])
        found = self._items.execute("SELECT item FROM items WHERE pk = ? AND sk = ?", where).fetchone()
        return None if found is None else dict(msgspec.json.decode(found[0]))

    def _write(self, item: Item) -> None:
        row = (item["pk"]["S"], item["sk"]["S"], msgspec.json.encode(item))
        self._items.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", row)


METHODS: Final = {
    "GetItem": "get_item",
    "PutItem": "put_item",
    "UpdateItem": "update_item",
    "DeleteItem": "delete_item",
    "TransactWriteItems": "transact_write_items",
    "BatchWriteItem": "batch_write_item",
    "Query": "query",
    "SendMessage": "send_message",
    "SendMessageBatch": "send_message_batch",
}
"""Operations that the job uses, and what the SDK calls them."""


def _add(item: Item, name: str, value: Item) -> None:
    if "N" in value:
        item[name] = {"N": str(int(item.get(name, {"N": "0"})["N"]) + int(value["N"]))}
    else:
        item[name] = {"SS": sorted({*item.get(name, {"SS": []})["SS"], *value["SS"]})}


_VERBS: Final[dict[str, Callable[[Item, str, Any], object]]] = {
    "SET": lambda item, name, value: item.update({name: value}),
    "ADD": _add,
    "REMOVE": lambda item, name, _: item.pop(name, None),
}


class _Raw(BytesIO):
    """A body as urllib3 hands it to the SDK."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()
