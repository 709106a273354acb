"""What of the wheels stays out of the package, since nothing in the package can ask for it.

A function starts as fast without it: what is not imported costs no time. It is for the size: Lambda fetches the package
before each new environment, and whoever updates a pin reads less.
"""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from ops.build._imports import Package

LIBRARIES: Final = ("aws_lambda_powertools", "sentry_sdk")
"""Large libraries of which a part is used. A module of theirs stays if an import leads to it, even one in a function:
they make up no module's name, except for Sentry's automatic integrations, which are off (core/telemetry/_sentry.py).
"""
_NEVER: Final = ("aws_lambda_powertools.event_handler",)
"""It is asked for only to log a model of pydantic, and begins with pydantic, which is not in the package."""
_FILES: Final = (
    "boto3/data",  # of resources, which nobody makes
    "boto3/examples",
    "botocore/cacert.pem",  # botocore takes certifi's where that is there
    "cffi",  # for who compiles; cryptography needs `_cffi_backend`, a module of its own
    "pycparser",  # cffi's
    "pycparser-*",
)
"""What else nothing asks for."""


def leave_out(directory: Path) -> None:
    """Remove it from a package that has our sources already."""
    package = Package(directory, ())
    every = {path.name for path in directory.iterdir() if path.is_dir()}
    kept = {package.source(module) for module in package.reached(package.own_modules(), of=every, never=_NEVER)}
    for path in (path for name in LIBRARIES for path in (directory / name).rglob("*") if path.is_file()):
        if path not in kept:
            path.unlink()
    for pattern in _FILES:
        for path in list(directory.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted((path for path in directory.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # a directory that has something
            path.rmdir()
