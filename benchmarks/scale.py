"""Whether a job costs more to dispatch among many: the cost per job of a long timeline against a short timeline."""

from statistics import median

from benchmarks.bikes import client
from benchmarks.figures import Figure, Measurement
from benchmarks.throughput import dispatch_rate

_SHORT = 10_000
_SHORT_REPEATED = 5  # a tenth of a second each


def dispatch_growth(socket: str, jobs: int) -> dict[str, float]:
    """Return the time per job, and the CPU time of dispatcher and server, for a timeline of `jobs` due jobs.

    The queue grows as the timeline shrinks, so both get long during the measurement.
    """
    short = []
    for _ in range(_SHORT_REPEATED):
        client(socket).flushall()
        short.append(dispatch_rate(socket, _SHORT))
    client(socket).flushall()
    long = dispatch_rate(socket, jobs)
    cpu_us = median(one["here_us"] + one["server_us"] for one in short)
    return {
        "time": median(one["rate"] for one in short) / long["rate"],
        "cpu": (long["here_us"] + long["server_us"]) / cpu_us,
    }


MEASUREMENTS = (
    Measurement(
        "benchmarks.scale:dispatch_growth",
        {
            "time": Figure("dispatch, a job of 1,000,000 against one of 10,000", "times", "less", limit=1.5),
            "cpu": Figure("dispatch, a job of 1,000,000 against one of 10,000: CPU", "times", "less"),
        },
        rounds=2,
        full={"jobs": 1_000_000},
        quick={"jobs": 100_000},
        compared=False,
    ),
)
