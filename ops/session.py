"""Sessions of AWS's SDK for commands, which make a few clients and end: what a client is made of is read fast."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import msgspec
from botocore.loaders import JSONFileLoader, Loader
from botocore.session import Session

from local import deploy


def session_in(region: str | None) -> Session:
    """Return a session for a region, by default the one that AWS's settings name; boto3's costs commands 0.1 s more."""
    session = Session()
    session.register_component("data_loader", _Models(file_loader=_Json()))
    if region is not None:
        session.set_config_variable("region", region)
    return session


def local_session() -> Session:
    """Return a session for the emulator, which takes any credentials."""
    session = session_in(deploy.REGION)
    session.set_credentials("test", "test")
    return session


class _Models(Loader):
    """Takes each folder for a service; botocore looks into all 400 of them for the file it wants, for each client."""

    @cached_property
    def _services(self) -> list[str]:
        folders = (folder for path in map(Path, self.search_paths) if path.is_dir() for folder in path.iterdir())
        return sorted({folder.name for folder in folders if folder.is_dir()})

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's signature
        return self._services


class _Json(JSONFileLoader):
    """Reads the models with msgspec: botocore's own way takes three times as long, and half a client's time is that."""

    def _load_file(self, full_path: str, open_method: Callable[[str, str], IO[bytes]]) -> Any:  # noqa: ANN401 - JSON of any shape
        if not Path(full_path).is_file():
            return None
        with open_method(full_path, "rb") as file:
            return msgspec.json.decode(file.read())
