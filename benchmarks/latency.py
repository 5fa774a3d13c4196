"""How long a job waits although a worker is free: after its due time, and after `set` with `NOW`.

The dispatcher, the worker and the process that sets the jobs run on one machine, so there is one clock.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bikes import PREFIX, QUEUE_KEY, NoOp, client, make_bike, put_on_timeline
from benchmarks.children import running
from benchmarks.figures import Figure, Measurement
from redbike import Redbike, RoundRobin

_SETTLE_S = 1.5
_EMPTY_WITHIN_S = 10.0


class Stamp(RoundRobin):
    """A worker that records when each job starts."""

    def __init__(self) -> None:
        super().__init__("A")
        self.started_at: dict[str, float] = {}

    def work(self, jobid: str) -> None:
        """Record the time, in Unix seconds."""
        self.started_at[jobid] = time.time()


def serve_work(socket: str) -> dict[str, float]:
    """Run the worker process until halted. Return the start of each job."""
    worker = Stamp()
    make_bike(socket, worker).work()
    return worker.started_at


def serve_dispatch(socket: str) -> dict[str, float]:
    """Run the dispatcher process until halted."""
    make_bike(socket, NoOp("A:A:B")).dispatch()
    return {}


def after_due(socket: str, jobs: int) -> dict[str, float]:
    """Measure jobs on `AT` from due time to start. They are due at whole seconds, because 0.13.1 accepts no others."""
    expected = {}
    with _serving(socket) as (bike, started_at):
        first_at = math.floor(time.time()) + 2
        for number in range(jobs):
            due_at = first_at + number
            expected[f"{number}:A"] = float(due_at)
            _sleep_until(due_at - 0.4 - number % 7 / 20)
            bike.set(f"{number}:A", f"AT:{due_at}")
            _sleep_until(due_at + 0.1)
        _wait_until_empty(socket)
    return _waits(expected, started_at)


def after_fraction(socket: str, jobs: int, gap_s: float) -> dict[str, float]:
    """Measure from due time to start. The due times are `gap_s` apart, written into the timeline as fractions."""
    with _serving(socket) as (_, started_at):
        first_at = time.time() + 1.5  # dispatchers notice jobs of a writer that wakes nobody within a second
        expected = {f"{number}:A": first_at + number * gap_s for number in range(jobs)}
        put_on_timeline(client(socket), expected)
        _sleep_until(first_at + jobs * gap_s)
        _wait_until_empty(socket)
    return _waits(expected, started_at)


def after_now(socket: str, jobs: int, gap_s: float) -> dict[str, float]:
    """Measure from the call of `set` with `NOW` to the start, one job at a time."""
    expected = {}
    with _serving(socket) as (bike, started_at):
        for number in range(jobs):
            expected[f"{number}:A"] = time.time()
            bike.set(f"{number}:A", "NOW")
            time.sleep(gap_s)
        _wait_until_empty(socket)
    return _waits(expected, started_at)


@contextmanager
def _serving(socket: str) -> Iterator[tuple[Redbike, dict[str, float]]]:
    """Run an idle dispatcher and an idle worker. After the block, the dict holds the start of each job."""
    bike = make_bike(socket, NoOp("A"))
    started_at: dict[str, float] = {}
    loops = ("benchmarks.latency:serve_work", "benchmarks.latency:serve_dispatch")
    with running(bike, loops, {"socket": socket}) as answers:
        time.sleep(_SETTLE_S)
        yield bike, started_at
    started_at.update(answers[0])


def _wait_until_empty(socket: str) -> None:
    """Wait until there is nothing left to dispatch or to run, and the last run has ended."""
    server, give_up_at = client(socket), time.monotonic() + _EMPTY_WITHIN_S
    while server.execute_command("EXISTS", f"{PREFIX}-timeline", QUEUE_KEY) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    time.sleep(0.1)


def _waits(expected: dict[str, float], started_at: dict[str, float]) -> dict[str, float]:
    missing = expected.keys() - started_at.keys()
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(expected)} jobs never started: {sorted(missing)[:3]}")
    waits_ms = sorted(1000 * (started_at[jobid] - at) for jobid, at in expected.items())
    return {"p50": _percentile(waits_ms, 50), "p99": _percentile(waits_ms, 99)}


def _percentile(ascending: list[float], percent: int) -> float:
    """Return the nearest rank: a number that was measured. With fewer than 100 numbers, the 99th is the largest."""
    return ascending[math.ceil(len(ascending) * percent / 100) - 1]


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.time()))


def _figures(what: str, p50_ms: float | None = None, p99_ms: float | None = None) -> dict[str, Figure]:
    return {
        "p50": Figure(f"{what}, p50", "ms", "less", limit=p50_ms),
        "p99": Figure(f"{what}, p99", "ms", "less", limit=p99_ms),
    }


MEASUREMENTS = (
    Measurement(
        "benchmarks.latency:after_due",
        _figures("due to start, one a second", p50_ms=2, p99_ms=10),
        rounds=2,
        full={"jobs": 20},
        quick={"jobs": 5},
    ),
    Measurement(
        "benchmarks.latency:after_fraction",
        _figures("due to start, one every 37 ms", p50_ms=2, p99_ms=10),
        rounds=3,
        full={"jobs": 200, "gap_s": 0.037},
        quick={"jobs": 100, "gap_s": 0.037},
    ),
    Measurement(
        "benchmarks.latency:after_fraction",
        _figures("due to start, 1,000 a second", p99_ms=20),
        rounds=3,
        full={"jobs": 3_000, "gap_s": 0.001},
        quick={"jobs": 1_000, "gap_s": 0.001},
    ),
    Measurement(
        "benchmarks.latency:after_now",
        _figures("set NOW to start"),
        rounds=3,
        full={"jobs": 200, "gap_s": 0.02},
        quick={"jobs": 100, "gap_s": 0.02},
    ),
)
