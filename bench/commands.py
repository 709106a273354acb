"""`python -m bench.commands`: how soon a command answers, beside a program that makes one client of boto3's.

A cloud is started in a folder of its own, and a small run brought to its end; then commands and baseline take turns.
What is compared is the processor's time of a process from its start to its end; the clock's stands in the notes.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench import figures
from bench.figures import Figure, compared

ROUNDS: Final = 11
COMMANDS: Final = {
    "rotation status --help": 0.6,
    "rotation list": 1.2,
    "rotation status": 1.3,
}
"""Each with its limit. 0.3 s for help and 0.6 s for a look are meant where the baseline takes 0.45 s."""
_BASELINE: Final = 'import boto3; boto3.client("dynamodb", region_name="us-east-1")'


class Spent(NamedTuple):
    """What a process took, in seconds."""

    processor: float
    clock: float


def measure(quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="commands-") as name:
        folder = Path(name)
        try:
            _spent(_rotation("up", "--identities", "20", "--speed", "1000"), folder)
            _spent(_rotation("run", "--wait"), folder)
            return [_compared(command, limit, folder, 2 if quick else ROUNDS) for command, limit in COMMANDS.items()]
        finally:
            _spent(_rotation("down"), folder)


def _compared(command: str, limit: float, folder: Path, rounds: int) -> Figure:
    ours, baseline = _rotation(*command.split()[1:]), [sys.executable, "-c", _BASELINE]
    _spent(ours, folder)  # the first of all reads from the disk
    pairs = [(_spent(ours, folder), _spent(baseline, folder)) for _ in range(rounds)]
    return compared(
        command,
        [(mine.processor, theirs.processor) for mine, theirs in pairs],
        unit="s CPU",
        against=f"python -c '{_BASELINE}'",
        limit=limit,
        note=f"{median(mine.clock for mine, _ in pairs):.2f} s by the clock, "
        f"the baseline {median(theirs.clock for _, theirs in pairs):.2f}",
    )


def _rotation(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("rotation")), *words]


def _spent(command: Sequence[str], folder: Path) -> Spent:
    """Run a command to its end; raises CalledProcessError where it fails."""
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:  # noqa: S603 - our own commands
        said = process.stderr.read() if process.stderr else b""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=said)
    return Spent(used.ru_utime + used.ru_stime, time.perf_counter() - began)


if __name__ == "__main__":
    figures.run("bench.commands", "Measures how soon commands answer.", measure)
