"""The longest time for which one call of a script blocks the server, and so every other client.

Each script is called in its expensive states, with very many jobs on the timeline and in one queue.
"""

import threading
import time
from itertools import islice
from statistics import median
from typing import Any

from benchmarks.bikes import (
    PREFIX,
    QUEUE_KEY,
    NoOp,
    Until,
    client,
    daily,
    fill_timeline,
    make_bike,
)
from benchmarks.figures import Figure, Measurement
from benchmarks.slowlog import Recording, script_names
from redbike import Redbike, UnsetJob

_SCRIPTS = sorted(set(script_names().values()) - {"now"})  # it only reads the clock
_LEAST_MS = 0.1  # shorter calls do not matter here
_SHORT_LIST = 100  # up to this length scripts search a list
_LOST_PAGES = 20_000  # jobs checked
_UNSET = 20  # jobs
_COUNTED = 40_000  # takes a millisecond or so


class UnsetItself(Until):
    """A worker whose runs unset their job."""

    def work(self, jobid: str) -> None:
        """Count the run, and unset the job."""
        super().work(jobid)
        raise UnsetJob


def longest_calls(socket: str, jobs: int, calls: int) -> dict[str, float]:
    """Return the longest call of each script, and the time that the machine adds to a call, in milliseconds.

    The server, too, must wait for a core. To measure this, a script that counts for a millisecond is called as often
    as `promote`.
    """
    server = client(socket)
    counting = server.script_load("local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i end return n")
    with Recording(server, {counting: "counting"}, _LEAST_MS) as recording:
        _with_short_list(socket, server)
        server.flushall()
        fill_timeline(server, jobs)
        bike = make_bike(socket, NoOp("A"))
        _set_all_kinds(bike, jobs, calls)
        _unset_some(bike, jobs, offset=1)
        _dispatch_all(bike)
        _set_all_kinds(bike, jobs, calls)
        _work_some(socket, Until(calls))
        _work_some(socket, UnsetItself(calls))
        _unset_some(bike, jobs, offset=2)
        _look_for_lost(bike, server)
        _watch_idle(bike)
        for _ in range(jobs // 200):
            server.evalsha(counting, 0, _COUNTED)
    longest = {name: max(recording.ms_of(name), default=recording.least_ms) for name in (*_SCRIPTS, "counting")}
    usual_ms = median(recording.ms_of("counting"))
    return {**longest, "machine": longest["counting"] - usual_ms}


def _with_short_list(socket: str, server: Any) -> None:
    """Prepare jobs that are in the set but not in the list, so that scripts search the list for each of them."""
    fill_timeline(server, 10 * _SHORT_LIST)
    jobids = [f"{number}:A" for number in range(10 * _SHORT_LIST)]
    server.sadd(f"{QUEUE_KEY}-members", *jobids)
    server.lpush(QUEUE_KEY, *(f"other-{number}:A" for number in range(_SHORT_LIST)))
    _dispatch_all(make_bike(socket, NoOp("A")))


def _set_all_kinds(bike: Redbike, jobs: int, calls: int) -> None:
    """Set new and known jobs: due now, soonest of all, later, and never."""
    for number in range(calls // 10):
        known, new = f"{number * jobs // calls}:A", f"new-{number}:A"
        for jobid in (known, new):
            for schedule in ("CONTINUE", "AT:1", "AT:4000000000", daily(number), "STOP"):
                bike.set(jobid, schedule)


def _unset_some(bike: Redbike, jobs: int, offset: int) -> None:
    """Unset jobs from the ends and the middle of the timeline or the queue. In a long queue each takes many calls."""
    for number in range(_UNSET):
        bike.unset(f"{offset + number * jobs // _UNSET}:A")


def _dispatch_all(bike: Redbike) -> None:
    bike.control("HALT")
    bike.dispatch()
    bike.clear_control()


def _work_some(socket: str, worker: Until) -> None:
    make_bike(socket, worker, worker.stop_event).work()


def _look_for_lost(bike: Redbike, server: Any) -> None:
    """Check queued jobs that have further runs page by page, as `redbike lost` does."""
    for start in range(0, _LOST_PAGES, 1_000):
        jobids = [f"{number}:A" for number in range(start, start + 1_000)]
        server.hset(f"{PREFIX}-schedules", mapping=dict.fromkeys(jobids, "CONTINUE"))
    list(islice(bike.get_lost(), _LOST_PAGES))


def _watch_idle(bike: Redbike) -> None:
    """Run a dispatcher without due jobs, over a queue whose jobs nobody takes."""
    dispatching = threading.Thread(target=bike.dispatch)
    dispatching.start()
    time.sleep(3.5)
    bike.control("HALT")
    dispatching.join()


def _longest(title: str, limit: float | None = None) -> Figure:
    return Figure(f"longest call{title}", "ms", "less", limit=limit, is_extreme=True)


MEASUREMENTS = (
    Measurement(
        "benchmarks.script_times:longest_calls",
        {
            **{name: _longest(f" of {name}, 1,000,000 jobs", limit=2) for name in _SCRIPTS},
            "machine": _longest(": what the machine may have added"),
        },
        rounds=2,
        full={"jobs": 1_000_000, "calls": 1_000},
        quick={"jobs": 100_000, "calls": 500},
        compared=False,
    ),
)
