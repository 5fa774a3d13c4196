"""How many jobs one worker runs and one dispatcher moves per second, and how much CPU time that takes."""

import time

from benchmarks.bikes import (
    PREFIX,
    QUEUE_KEY,
    Meter,
    NoOp,
    Until,
    client,
    fill_circle,
    fill_timeline,
    make_bike,
)
from benchmarks.figures import Figure, Measurement


def work_rate(
    socket: str, jobs: int, seconds: float, by_tcp: bool = False, without_history: bool = False
) -> dict[str, float]:
    """Return the runs per second of one worker, with `jobs` no-op jobs on CONTINUE."""
    fill_circle(make_bike(socket, NoOp("A")), jobs)
    worker = Until(seconds=seconds)
    bike = make_bike(socket, worker, worker.stop_event, by_tcp, without_history)
    with Meter(client(socket)) as meter:
        bike.work()
    return {
        "rate": worker.rate,
        "here_us": meter.here_us / worker.count,
        "server_us": meter.server_us / worker.count,
    }


def dispatch_rate(socket: str, jobs: int) -> dict[str, float]:
    """Return the due jobs per second that one pass moves from the timeline into a queue."""
    server = client(socket)
    fill_timeline(server, jobs)
    bike = make_bike(socket, NoOp("A"))
    bike.control("HALT")  # one pass, which connects before the clock starts
    with Meter(server) as meter:
        started_at = time.perf_counter()
        bike.dispatch()
        elapsed_s = time.perf_counter() - started_at
    left, moved = server.zcard(f"{PREFIX}-timeline"), server.llen(QUEUE_KEY)
    if (left, moved) != (0, jobs):
        raise RuntimeError(f"one pass left {left} of {jobs} due jobs on the timeline and queued {moved}")
    return {"rate": jobs / elapsed_s, "here_us": meter.here_us / jobs, "server_us": meter.server_us / jobs}


def _figures(what: str, wanted: float) -> dict[str, Figure]:
    return {
        "rate": Figure(what, "jobs/s", "more", wanted=wanted),
        "here_us": Figure(f"{what}: CPU, its own", "µs/job", "less"),
        "server_us": Figure(f"{what}: CPU, the server's", "µs/job", "less"),
    }


MEASUREMENTS = (
    Measurement(
        "benchmarks.throughput:work_rate",
        _figures("work, no-op CONTINUE jobs", wanted=5),
        full={"jobs": 1_000, "seconds": 3.0},
        quick={"jobs": 1_000, "seconds": 1.0},
    ),
    Measurement(
        "benchmarks.throughput:work_rate",
        {"rate": Figure("work, no-op CONTINUE jobs, by TCP", "jobs/s", "more", wanted=5)},
        full={"jobs": 1_000, "seconds": 3.0, "by_tcp": True},
        quick={"jobs": 1_000, "seconds": 1.0, "by_tcp": True},
    ),
    Measurement(
        "benchmarks.throughput:work_rate",
        _figures("work, history: 0", wanted=5),
        full={"jobs": 1_000, "seconds": 3.0, "without_history": True},
        quick={"jobs": 1_000, "seconds": 1.0, "without_history": True},
    ),
    Measurement(
        "benchmarks.throughput:dispatch_rate",
        _figures("dispatch, 100,000 due", wanted=10),
        rounds=3,
        full={"jobs": 100_000},
        quick={"jobs": 20_000},
    ),
)
