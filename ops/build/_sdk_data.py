"""What of botocore's data stays in the package: that of the services in use, in the form that is read fastest.

A start reads `endpoints.json` whole, 1.2 MB of which four services are a fiftieth, and unpacks each service's model,
half of which is documentation. Every partition, region and operation stays.
"""

import gzip
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

_UNUSED: Final = ("examples-1.json*", "waiters-2.json*", "completions-1.json*")
"""Nobody waits for a state here, and the others are for people who read."""


def missing(botocore: Path, used: Iterable[str]) -> list[str]:
    """Return the services that botocore does not know."""
    return sorted(service for service in used if not (botocore / "data" / service).is_dir())


def cut(botocore: Path, used: set[str]) -> None:
    data = botocore / "data"
    for path in data.iterdir():
        if path.is_dir() and path.name not in used:
            shutil.rmtree(path)
    for service in sorted(used):
        *older, newest = sorted(path for path in (data / service).iterdir() if path.is_dir())
        for path in older:
            shutil.rmtree(path)
        for pattern in _UNUSED:
            for path in newest.glob(pattern):
                path.unlink()
        for path in sorted(newest.glob("*.json.gz")):
            _write(path.with_suffix(""), _without_documentation(json.loads(gzip.decompress(path.read_bytes()))))
            path.unlink()
    endpoints = json.loads((data / "endpoints.json").read_bytes())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: of for name, of in partition["services"].items() if name in used}
    _write(data / "endpoints.json", endpoints)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


def _without_documentation(model: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a model without its texts; a member that is called `documentation` is an object, and stays."""
    if isinstance(model, dict):
        return {
            key: _without_documentation(value)
            for key, value in model.items()
            if not (key == "documentation" and isinstance(value, str))
        }
    if isinstance(model, list):
        return [_without_documentation(item) for item in model]
    return model
