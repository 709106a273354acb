"""The best memory size of the functions, of those that were measured, with what a month of the refresh costs at each.

A second costs in proportion to the memory, and a function that waits for LML waits as long at any size: the least size
is the cheapest. It must leave room, and must not make a DJ wait: those are the conditions.
"""

from collections.abc import Iterator
from statistics import median
from typing import Final

from bench import cost
from bench.as_lambda import WHOLE, Taken
from bench.figures import Figure
from local import deploy

ROOM: Final = 3.0
"""Times the most memory that a start took: Lambda's own processes and a day with more rows need some."""
PATIENCE: Final = 250.0
"""Milliseconds that a first invocation may take, the one that a DJ waits for too."""
_OF: Final = {"fan_out": "FanOutFunction", "refresh": "RefreshFunction"}


def dollars_a_month(taken: Taken, size: int) -> float:
    """Return what Lambda bills for a month of warm days: their seconds, and the day's starts with their init phases."""
    measured, template = cost.read(), deploy.transform(deploy.read())
    seconds = 0.0
    for function, name in _OF.items():
        starts = [turn["ours"] for turn in taken[function, size]]
        start = median(start.init + start.invocation for start in starts) / 1000
        seconds += measured.warm.functions[name].seconds + cost.STARTS[name] * start
    architecture = template["Parameters"]["Architecture"]["Default"]
    return cost.MONTH * seconds * size / 1024 * cost.GB_SECOND[architecture]


def best(taken: Taken) -> int | None:
    """Return the cheapest size that leaves room and makes nobody wait; None if none of them does."""
    good = []
    for size in sorted({size for _, size in taken}):
        starts = [[turn["ours"] for turn in turns] for (_, at), turns in taken.items() if at == size]
        room = size / max(start.peak for of in starts for start in of)
        slowest = max(median(start.invocation for start in of) for of in starts)
        if room >= ROOM and slowest <= PATIENCE:
            good.append((dollars_a_month(taken, size), size))
    return min(good)[1] if good else None


def figures(taken: Taken) -> Iterator[Figure]:
    chosen = best(taken)
    for size in sorted({size for _, size in taken}):
        yield Figure(
            what=f"a month of the refresh, {size} MB",
            unit="dollars",
            ours=round(dollars_a_month(taken, size), 4),
            note=f"{min(1.0, size / WHOLE):.1%} of a processor{', the best size of these' if size == chosen else ''}",
        )
