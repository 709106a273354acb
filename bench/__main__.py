"""`make bench`: every figure of a fast start and low cost, each beside a named baseline of the same run."""

from bench import cold_start, fan_out, figures, package, picker, refresh_work
from bench.figures import Figure

BENCHES = (cold_start, refresh_work, fan_out, package, picker)


def measure(quick: bool) -> list[Figure]:
    return [figure for bench in BENCHES for figure in bench.measure(quick)]


if __name__ == "__main__":
    figures.run("bench", "Measures starts, work, fan-out, package and picker, each against a named baseline.", measure)
