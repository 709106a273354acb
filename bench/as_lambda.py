"""Lambda's processor for one start: the init phase has a whole one, an invocation the share of its memory size.

A control group gives the share, as it does in Lambda. Where none can be made, which takes root, the processor's
time of the invocation is scaled instead.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from local import runtime_api

WHOLE: Final = 1769
"""MB at which a function has one whole processor (Lambda's documentation, "Memory and computing power")."""
PERIOD: Final = 20_000
"""Microseconds in which a share is spent; Lambda's own."""
_V1: Final = Path("/sys/fs/cgroup/cpu")
_V2: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Start:
    """One cold start: milliseconds of the init phase and of its first invocation, and the most memory, in MB."""

    init: float
    """Of the processor."""
    invocation: float
    """By the clock."""
    invocation_cpu: float
    peak: float
    scaled: bool = False
    """Whether there was no control group, so that `invocation` is the clock's time with the processor's scaled."""

    @property
    def total(self) -> float:
        return self.init + self.invocation


Turn: TypeAlias = dict[str, Start]
"""One start of each side, by its name."""
Taken: TypeAlias = dict[tuple[str, int], list[Turn]]
"""The turns of a function at a memory size."""


@dataclass(frozen=True, slots=True)
class Function:
    """What is started: an interpreter, a handler, and all of its environment."""

    python: str
    handler: str
    environment: Mapping[str, str]


class Group:
    """A control group of one share; `scaled` where this machine has none to give."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.share = min(1.0, memory / WHOLE)
        self._path: Path | None = None
        quota = int(self.share * PERIOD)
        for root, files in (
            (_V1, {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(quota)}),
            (_V2, {"cpu.max": f"{quota} {PERIOD}"}),
        ):
            path = root / f"rotation-bench-{memory}"
            with suppress(OSError):
                path.mkdir(exist_ok=True)
                if all((path / name).exists() for name in files):
                    for name, value in files.items():
                        (path / name).write_text(value)
                    self._path = path
                    return
                path.rmdir()

    @property
    def scaled(self) -> bool:
        return self._path is None

    def join(self, pid: int) -> None:
        if self._path and self.share < 1:
            (self._path / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        if self._path:
            with suppress(OSError):
                self._path.rmdir()


@contextmanager
def groups(sizes: tuple[int, ...]) -> Iterator[Mapping[int, Group]]:
    made = {size: Group(size) for size in sizes}
    try:
        yield made
    finally:
        for group in made.values():
            group.close()


def start(function: Function, event: str, log: Path, group: Group) -> Start:
    """Start a fresh process, and invoke it once. Raises ProcessError for whatever is no answer."""
    with runtime_api.running(function.handler, function.environment, log, "-S", python=function.python) as runtime:
        runtime.wait_until_ready()
        pid = runtime.process.pid
        init = _processor_seconds(pid)
        group.join(pid)
        began = time.perf_counter()
        runtime.invoke(event)
        elapsed = time.perf_counter() - began
        used = _processor_seconds(pid) - init
        if group.scaled:
            elapsed += used * (1 / group.share - 1)
        return Start(1000 * init, 1000 * elapsed, 1000 * used, _peak(pid), scaled=group.scaled)


def _processor_seconds(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | 2)  # the clock of another process, see clock_getcpuclockid(3)


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
