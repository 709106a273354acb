"""An operator at work: every command of `rotation`, in this process."""

import json
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema
from click.testing import CliRunner, Result

from local import sentry
from ops.cli import main
from ops.shapes import PAGE
from ops.target import Running, Target, find, running

IDENTITIES = 24
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process was told to ignore
from ops.cli import main
main()
"""


def exact(schema: Any) -> Any:
    """The schema without room for fields that it does not name."""
    if isinstance(schema, dict):
        closed = {"additionalProperties": False} if "properties" in schema else {}
        return {name: exact(it) for name, it in schema.items()} | closed
    return [exact(it) for it in schema] if isinstance(schema, list) else schema


SHAPES = exact(json.loads(PAGE.read_text(encoding="utf-8")))


def check_shape(name: str, data: dict[str, Any]) -> None:
    """See that a command prints what docs/commands.schema.json has under its name."""
    jsonschema.validate(data, {**SHAPES, "$ref": f"#/commands/{'error' if 'error' in data else name}"})


def _shape(arguments: tuple[str, ...], data: dict[str, Any]) -> str:
    words = list(arguments[:2] if arguments[0] == "sentry" else arguments[:1])
    words[0] = "dead-letters" if words[0] == "letters" else words[0]
    words += [flag for flag in ("--wait", "--undo") if flag in arguments]
    words += ["--wait"] if "--watch" in arguments and words[0] != "status" else []
    if "outcome" in data or words[0] == "stop":
        words = [word for word in words if word != "--wait"]
    return " ".join(words)


@dataclass
class Operator:
    """A directory in which somebody calls `rotation`, with some options always."""

    directory: Path
    options: tuple[str, ...] = ()

    def rotation(self, *arguments: str) -> Result:
        with chdir(self.directory):
            return CliRunner().invoke(main, [*arguments, *self.options])

    def data(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What a command says with `--json`."""
        result = self.rotation(*arguments, "--json")
        assert result.exit_code == code, result.output
        data = json.loads(result.stdout)
        check_shape(_shape(arguments, data), data)
        return data

    def text(self, *arguments: str) -> str:
        """What a command says to a person."""
        result = self.rotation(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    @property
    def running(self) -> Running:
        with chdir(self.directory):
            return running()

    @property
    def target(self) -> Target:
        with chdir(self.directory):
            return find(None, None)

    @contextmanager
    def held(self) -> Iterator[Callable[[], int]]:
        """Let LML sit on every request for ids; yields how many it sits on."""
        lml = self.running.cloud.lml_url
        httpx.post(f"{lml}/_faults", json=[{"path": "refresh", "hold": True, "times": None}]).raise_for_status()
        try:
            yield lambda: httpx.get(f"{lml}/_stats").json()["held"]
        finally:
            httpx.post(f"{lml}/_reset").raise_for_status()

    def set_deadline(self, run_id: str, moment: float) -> None:
        """Have a run end then, in seconds since 1970: on the fast clock of this cloud a day is half a minute."""
        self.target.client("dynamodb").update_item(
            TableName=self.target.names["LedgerTable"],
            Key={"pk": {"S": f"RUN#{run_id}"}, "sk": {"S": "RUN"}},
            UpdateExpression="SET deadline = :moment",
            ExpressionAttributeValues={":moment": {"N": f"{moment:.0f}"}},
        )

    def reported_totals(self, run_id: str) -> list[dict[str, object]]:
        """The totals of a run as Sentry received them."""
        envelopes = sentry.decode(httpx.get(f"{self.running.cloud.sentry_url}/_envelopes").content)
        spans = [span.attributes for span in sentry.spans(envelopes) if span.name.endswith(".run.totals")]
        return [attributes for attributes in spans if attributes["backfill.run_id"] == run_id]
