"""`python -m bench.package`: what is in the functions' package, how large it is, and why.

Measures what `make build` left in `.build/package`; where nothing is, the same package is made for this host first.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bench import figures
from bench.figures import Figure
from ops.build import _package as package
from ops.build import package_sizes

WHY: Final[Mapping[str, str]] = {
    "aws_lambda_powertools": "log lines and CloudWatch metrics in Lambda's formats",
    "sentry_sdk": "spans, events and check-ins that alert rules know",
    "msgspec": "messages and ledger items, checked while they are decoded",
    "httpx": "requests to LML and GitHub that can be cancelled as a whole",
    "sniffio": "spares httpcore a search for it at every lock",
    "httpcore": "httpx's connections",
    "anyio": "httpcore's sockets under asyncio",
    "h11": "httpcore's HTTP/1.1",
    "idna": "httpx's host names",
    "certifi": "httpx's and Sentry's certificate authorities",
    "urllib3": "Sentry's connections, and botocore's",
    "botocore": "AWS: signing, retries, endpoints of every partition",
    "jmespath": "botocore's paginators",
    "dateutil": "botocore's times",
    "six": "dateutil's",
    "boto3": "the SDK by its own name, for who adds a call; nothing imports it",
    "s3transfer": "boto3's",
    "pg8000": "PostgreSQL without a compiled client",
    "scramp": "pg8000's authentication",
    "asn1crypto": "scramp's channel binding",
    "typing_extensions": "Powertools' and anyio's types",
    "core": "what the job knows",
    "handlers": "one file a function",
    "certs": "certificate authorities of AWS's databases",
}
"""Each part of the package, and what it is for."""


def measure(quick: bool) -> list[Figure]:  # noqa: ARG001 - it is quick
    built = package.ROOT / ".build" / "package"
    if built.is_dir() and package.archive_of(built).is_file():
        return list(_figures(built))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "package"
        package.make(directory, None)
        package.compile_sources(directory)
        package.pack(directory)
        return list(_figures(directory))


def _figures(directory: Path) -> Iterator[Figure]:
    sizes, limit = package_sizes(directory), _mb(package.RECIPES["package"].most)
    note = f"{_mb(sizes.zipped)} MB zipped"
    if not any(directory.rglob("*.pyc")):
        note += "; without bytecode, which takes a python3.13 on the path and doubles it"
    yield Figure(what="package, unzipped, with boto3", unit="MB", ours=_mb(sizes.unzipped), limit=limit, note=note)
    for name, size in sorted(sizes.parts.items(), key=lambda part: -part[1]):
        yield Figure(what=f"- {name}", unit="MB", ours=_mb(size), note=WHY.get(name, "nobody has said why"))


def _mb(size: int) -> float:
    return round(size / 1e6, 2)


if __name__ == "__main__":
    figures.run("bench.package", "Measures the functions' package.", measure)
