"""Virtual time: exact, in order, and as fast as its events."""

import asyncio
import time

import pytest

from ops.loadtest.virtual import Blocking, VirtualLoop


def run(*codes):
    """Run blocking codes side by side; each is given its clock. Returns the virtual seconds that it took."""
    loop = VirtualLoop()

    async def main() -> None:
        clocks = [Blocking(loop) for _ in codes]
        await asyncio.gather(
            *(clock.run(lambda c=clock, f=code: f(c)) for clock, code in zip(clocks, codes, strict=True))
        )

    try:
        loop.run_until_complete(main())
        return loop.time()
    finally:
        loop.close()


def test_a_day_passes_in_a_moment():
    began = time.monotonic()

    assert run(lambda clock: clock.sleep(86_400)) == 86_400
    assert time.monotonic() - began < 5


def test_blocking_codes_take_turns_by_time_alone():
    seen = []

    def slot(name: str, step: float):
        def code(clock: Blocking) -> None:
            for _ in range(3):
                clock.sleep(step)
                seen.append((clock.pace(), name))

        return code

    run(slot("a", 2), slot("b", 3))

    assert seen == [(2, "a"), (3, "b"), (4, "a"), (6, "b"), (6, "a"), (9, "b")]


def test_what_a_coroutine_raises_reaches_the_blocking_code():
    async def fails() -> None:
        raise ValueError("no")

    def code(clock: Blocking) -> None:
        with pytest.raises(ValueError, match="no"):
            clock.wait(fails())
        clock.sleep(1)

    assert run(code) == 1


def test_what_blocking_code_raises_reaches_the_loop():
    def code(clock: Blocking) -> None:
        clock.sleep(1)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        run(code)


def test_waiting_for_nothing_is_an_error_and_not_a_hang():
    with pytest.raises(RuntimeError, match="stands still"):
        run(lambda clock: clock.wait(asyncio.Event().wait()))
