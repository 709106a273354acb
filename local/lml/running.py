"""The stand-in as a process of its own, while a context lasts."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.process import end, listening, spawn
from local.world import World


@contextmanager
def as_process(world: World, directory: Path, *options: str) -> Iterator[str]:
    """Run `python -m local.lml` with these options and its files in a directory; gives its base URL.

    Raises ProcessError.
    """
    file, url_file = directory / "world.json", directory / "lml.url"
    world.save(file)
    url_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "local.lml", "--world", str(file), "--url-file", str(url_file), *options]
    process = spawn(command, directory / "lml.log")
    try:
        yield listening(process, "the stand-in LML", url_file)
    finally:
        end([process])
