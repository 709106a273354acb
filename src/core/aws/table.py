"""One DynamoDB table: its wire format, conditions and transactions, as little of them as its users need."""

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef, WriteRequestTypeDef

Value: TypeAlias = str | int | float | frozenset[str] | Mapping[str, str]
Item: TypeAlias = dict[str, Value]
Action: TypeAlias = "TransactWriteItemTypeDef"

BATCH: Final = 25
"""Items that one BatchWriteItem takes."""
_MAX_TRIES: Final = 10
"""Tries of a write that others are in the way of: about five seconds in all."""
_IN_THE_WAY: Final = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


class TransactionRefusedError(Exception):
    """A condition did not hold, or others were in the way for too long; nothing was written."""

    def __init__(self, codes: Sequence[str], old: Sequence[Item]) -> None:
        super().__init__(f"transaction refused: {', '.join(codes)}")
        self.codes = codes
        """A reason for each action: `None`, `ConditionalCheckFailed`, `TransactionConflict` and so on."""
        self.old = old
        """The item behind each action, as it was; empty where DynamoDB does not say."""

    def failed(self, action: int) -> bool:
        """Whether the condition of an action did not hold."""
        return self.codes[action] == "ConditionalCheckFailed"


class Table(msgspec.Struct, frozen=True):
    """A table with a string key `pk` and a string sort key `sk`.

    In conditions and updates `#name` stands for an attribute whose name is a reserved word, `:value` for a keyword.
    Methods that take a condition return False where it does not hold. Other errors of the SDK go up as they are.
    `redact` is given every text that is written, keys aside.
    """

    client: "DynamoDBClient"
    name: str
    sleep: Callable[[float], None] = time.sleep
    redact: Callable[[str], str] = str

    def read(self, pk: str, sk: str) -> Item | None:
        """Return the item as it is now, by a consistent read."""
        answer = self.client.get_item(TableName=self.name, Key=_key(pk, sk), ConsistentRead=True)
        return _from_wire(answer["Item"]) if "Item" in answer else None

    def put(self, item: Item, condition: str, **values: Value) -> bool:
        return self._holds(
            self.client.put_item,
            Item=self._to_wire(item),
            ConditionExpression=condition,
            **_stand_ins(condition, values),
        )

    def update(self, pk: str, sk: str, update: str, condition: str, **values: Value) -> bool:
        return self._holds(self.client.update_item, **self._change(pk, sk, update, condition, values))

    def delete(self, pk: str, sk: str, condition: str, **values: Value) -> bool:
        return self._holds(
            self.client.delete_item,
            Key=_key(pk, sk),
            ConditionExpression=condition,
            **_stand_ins(condition, values),
        )

    def updating(self, pk: str, sk: str, update: str, condition: str, **values: Value) -> Action:
        """An update for `transact`."""
        change = self._change(pk, sk, update, condition, values)
        return cast("Action", {"Update": {"TableName": self.name, **change, **_TELL_OLD}})

    def deleting(self, pk: str, sk: str, condition: str, **values: Value) -> Action:
        """A deletion for `transact`."""
        change = {"Key": _key(pk, sk), "ConditionExpression": condition, **_stand_ins(condition, values)}
        return cast("Action", {"Delete": {"TableName": self.name, **change, **_TELL_OLD}})

    def transact(self, actions: Sequence[Action], *, token: str | None = None) -> None:
        """All or nothing; the identical request is sent again while other requests are in the way.

        Raises `TransactionRefusedError`; `token` (36 characters at most) makes a repeat within ten minutes harmless.
        """
        request: dict[str, Any] = {"TransactItems": list(actions)} | ({"ClientRequestToken": token} if token else {})
        for tried in range(1, _MAX_TRIES + 1):
            try:
                self.client.transact_write_items(**request)
            except self.client.exceptions.TransactionCanceledException as error:
                reasons = error.response.get("CancellationReasons", [])
                codes = [reason.get("Code", "None") for reason in reasons]
                if tried == _MAX_TRIES or not _IN_THE_WAY.issuperset(code for code in codes if code != "None"):
                    old = [_from_wire(reason.get("Item", {})) for reason in reasons]
                    raise TransactionRefusedError(codes, old) from error
                self._give_way(tried)
            except self.client.exceptions.TransactionInProgressException:  # of a request that was given up too early
                if tried == _MAX_TRIES:
                    raise
                self._give_way(tried)
            else:
                return

    def write_all(self, items: Sequence[Item]) -> None:
        """Write up to 25 items, whatever was there before; those that DynamoDB leaves out are sent again."""
        pending: Sequence[WriteRequestTypeDef] = [{"PutRequest": {"Item": self._to_wire(item)}} for item in items]
        tried = 0
        while pending:
            answer = self.client.batch_write_item(RequestItems={self.name: pending})
            pending = cast("Sequence[WriteRequestTypeDef]", answer.get("UnprocessedItems", {}).get(self.name, []))
            if pending:
                tried += 1
                self._give_way(tried)

    def query(self, pk: str, prefix: str) -> Iterator[Item]:
        """Every item of a partition whose sort key begins so, in its order, page by page, read consistently."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": {"S": pk}, ":prefix": {"S": prefix}},
            ConsistentRead=True,
        )
        for page in pages:
            yield from map(_from_wire, page["Items"])

    def scan(self, *names: str) -> Iterator[Item]:
        """These attributes of every item of the table, page by page; what is written meanwhile may be missing."""
        stand_ins = {f"#{at}": name for at, name in enumerate(names)}
        pages = self.client.get_paginator("scan").paginate(
            TableName=self.name, ProjectionExpression=", ".join(stand_ins), ExpressionAttributeNames=stand_ins
        )
        for page in pages:
            yield from map(_from_wire, page["Items"])

    def _change(self, pk: str, sk: str, update: str, condition: str, values: Mapping[str, Value]) -> dict[str, Any]:
        return {
            "Key": _key(pk, sk),
            "UpdateExpression": update,
            "ConditionExpression": condition,
            **_stand_ins(f"{update} {condition}", self._redacted(values)),
        }

    def _to_wire(self, item: Item) -> dict[str, Any]:
        return {name: _wire(value) for name, value in self._redacted(item).items()}

    def _redacted(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: value if name in {"pk", "sk"} else self._redacted_value(value) for name, value in values.items()}

    def _redacted_value(self, value: Value) -> Value:
        match value:
            case str():
                return self.redact(value)
            case int() | float() | frozenset():
                return value
            case _:
                return {name: self.redact(text) for name, text in value.items()}

    def _holds(self, call: Callable[..., object], **request: Any) -> bool:  # noqa: ANN401 - the SDK's own keywords
        tried = 0
        while True:
            tried += 1
            try:
                call(TableName=self.name, **request)
            except self.client.exceptions.ConditionalCheckFailedException:
                return False
            except self.client.exceptions.TransactionConflictException:  # the SDK does not repeat these
                if tried == _MAX_TRIES:
                    raise
                self._give_way(tried)
            else:
                return True

    def _give_way(self, tried: int) -> None:
        self.sleep(random.uniform(0, min(2.0, 0.02 * 2**tried)))  # noqa: S311 - jitter


_TELL_OLD: Final = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
_NAME: Final = re.compile(r"#(\w+)")


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _stand_ins(expression: str, values: Mapping[str, Value]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if names := set(_NAME.findall(expression)):
        found["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
    if values:
        found["ExpressionAttributeValues"] = {f":{name}": _wire(value) for name, value in values.items()}
    return found


def _wire(value: Value) -> dict[str, Any]:
    match value:
        case str():
            return {"S": value}
        case int() | float():
            return {"N": str(value)}
        case frozenset():
            return {"SS": sorted(value)}
        case _:
            return {"M": {name: {"S": text} for name, text in value.items()}}


def _from_wire(item: Mapping[str, Any]) -> Item:
    return {name: _plain(value) for name, value in item.items()}


def _plain(wired: Mapping[str, Any]) -> Value:
    ((kind, value),) = wired.items()
    match kind:
        case "N":
            return int(value) if value.lstrip("-").isdigit() else float(value)
        case "SS":
            return frozenset(value)
        case "M":
            return {name: inner["S"] for name, inner in value.items()}
        case _:
            return str(value)
