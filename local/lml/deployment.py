"""LML as its callers see it: processes behind one address, one Discogs, and another LML with the same token.

The HTTP stand-in and the load test's model are both this, the one in real or faster time, the other in virtual time.
"""

from random import Random

from local.lml.discogs import Discogs
from local.lml.library import Library, Stored
from local.lml.limits import Limits, LmlClock
from local.lml.process import LmlProcess
from local.lml.readers import Readers
from local.world import World


class LmlWorker:
    """One process with what it knows of the world."""

    def __init__(self, process: LmlProcess, library: Library) -> None:
        self.process = process
        self.library = library

    async def health(self, commit_sha: str | None) -> dict[str, object]:
        """Return the body of `/health` (docs/design/lml.md#health).

        Breaker and counter are read first. Then Discogs is asked, but not while the breaker is not closed: in that time
        the question costs nothing.
        """
        process = self.process
        state, total = process.breaker.state, process.live_requests
        discogs = await process.check() if state == "closed" else "rate-limited"
        return {
            "status": "healthy" if discogs == "ok" else "degraded",
            "version": "stand-in",
            "commit_sha": commit_sha,
            "discogs_breaker_state": state,
            "discogs_live_requests_total": total,
            "services": {"database": "ok", "discogs_api": discogs, "discogs_cache": "ok"},
        }


class Deployment:
    """All processes of LML behind one address; a random one answers each request."""

    def __init__(self, world: World, clock: LmlClock, limits: Limits, made: type[LmlProcess] = LmlProcess) -> None:
        self.discogs = Discogs(clock, limits, world.seed)
        stored = Stored(world)
        processes = [made(self.discogs, clock, limits, f"{world.seed}/{n}") for n in range(limits.workers)]
        self.stored = stored
        self.workers = [LmlWorker(process, Library(world, stored, process, clock, limits)) for process in processes]
        self._luck = Random(f"{world.seed}/worker")  # noqa: S311  reproducible, not secret
        self.readers = Readers(processes, clock)
        self.others = Readers(processes, clock, "other")
        self.staging = Readers([LmlProcess(self.discogs, clock, limits, f"{world.seed}/staging")], clock, "staging")

    def worker(self) -> LmlWorker:
        """Return the process that a request comes to."""
        return self.workers[0] if len(self.workers) == 1 else self._luck.choice(self.workers)

    @property
    def processes(self) -> list[LmlProcess]:
        return [worker.process for worker in self.workers]

    def forget(self) -> None:
        """Clear the records of calls, sheds and readers; stored answers, limits and the counter stay."""
        self.discogs.calls.clear()
        for process in self.processes:
            process.sheds.clear()
            process.breaker.openings.clear()
        for callers in (self.readers, self.others, self.staging):
            callers.readings.clear()

    def end(self) -> None:
        for callers in (self.readers, self.others, self.staging):
            callers.stop()
