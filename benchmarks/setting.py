"""How fast schedules are set, one at a time, many at once and from a CSV, and how much memory a job takes."""

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bikes import NoOp, client, daily, make_bike
from benchmarks.figures import Figure, Measurement
from redbike import Redbike


def set_rate(socket: str, jobs: int) -> dict[str, float]:
    """Return the calls of `set` per second, for jobs that are queued at once and for recurring jobs."""
    bike = make_bike(socket, NoOp("A"))
    bike.set("first:A", "CONTINUE")  # connects and loads the scripts
    queue = {f"queue-{number}:A": "CONTINUE" for number in range(jobs)}
    recur = {f"recur-{number}:A": daily(number) for number in range(jobs)}
    return {"queue": _set_all(bike, queue), "recur": _set_all(bike, recur)}


def load_rate(socket: str, jobs: int) -> dict[str, float]:
    """Return the rows per second of `load_csv` with recurring jobs, and the server memory that they take."""
    server = client(socket)
    bike = make_bike(socket, NoOp("A"))
    bike.set("first:A", daily(0))
    table = Path(socket).parent / "schedules.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows((f"{number}:A", daily(number)) for number in range(jobs))
    before = server.info("memory")["used_memory"]
    started_at = time.perf_counter()
    bike.load_csv(str(table))
    elapsed_s = time.perf_counter() - started_at
    return {"load": jobs / elapsed_s, "memory": (server.info("memory")["used_memory"] - before) / jobs}


def many_rate(socket: str, jobs: int) -> dict[str, float]:
    """Return what a row of `set_many` costs, and that in percent of two other ways to set the same rows."""
    bike = make_bike(socket, NoOp("A"))
    bike.set("first:A", daily(0))
    # Other jobs each time, because a job is set again in less time.
    first, second, third = (
        [(f"{name}-{number}:A", daily(number)) for number in range(count)]
        for name, count in (("many", jobs), ("plan", jobs), ("each", jobs // 10))
    )
    many_s = _seconds(lambda: bike.set_many(first)) / jobs
    planned_s = _seconds(lambda: _plan_each(bike, second)) / jobs
    one_by_one_s = 1 / _set_all(bike, dict(third))
    return {"row": 1e6 * many_s, "of_set": 100 * many_s / one_by_one_s, "of_plans": 100 * many_s / planned_s}


def _plan_each(bike: Any, rows: list[tuple[str, str]]) -> None:
    """Set the rows as `load_csv` did before there was `set_many`: each row is planned by itself, as for `set`."""
    parts = bike._parts
    reference = bike.now()
    parts.placing.place_all(parts.planner.plan(jobid, schedule, lambda: reference)[1] for jobid, schedule in rows)


def _seconds(act: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    act()
    return time.perf_counter() - started_at


def _set_all(bike: Redbike, schedules: dict[str, str]) -> float:
    started_at = time.perf_counter()
    for jobid, schedule in schedules.items():
        bike.set(jobid, schedule)
    return len(schedules) / (time.perf_counter() - started_at)


_LOAD = Figure("load_csv, recurring jobs", "rows/s", "more", wanted=8)
_MEMORY = Figure("server memory, a recurring job", "bytes", "less", within=1.1)

MEASUREMENTS = (
    Measurement(
        "benchmarks.setting:set_rate",
        {
            "queue": Figure("set, CONTINUE, one by one", "jobs/s", "more", wanted=2),
            "recur": Figure("set, recurring, one by one", "jobs/s", "more", wanted=2),
        },
        full={"jobs": 3_000},
        quick={"jobs": 1_000},
    ),
    Measurement(
        "benchmarks.setting:many_rate",
        {
            "row": Figure("set_many, recurring jobs, a row", "µs", "less", limit=25),
            "of_set": Figure("... compared with set, one by one", "%", "less", limit=20),
            "of_plans": Figure("... compared with a plan for each row", "%", "less", limit=90),
        },
        rounds=3,
        full={"jobs": 50_000},
        quick={"jobs": 10_000},
        compared=False,
    ),
    Measurement(
        "benchmarks.setting:load_rate",
        {"load": _LOAD},
        rounds=3,
        full={"jobs": 10_000},
        quick={"jobs": 2_000},
    ),
    Measurement(
        "benchmarks.setting:load_rate",
        {"memory": _MEMORY},
        rounds=1,
        full={"jobs": 50_000},
        quick={"jobs": 10_000},
    ),
)
