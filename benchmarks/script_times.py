"""The longest that the server, and with it every other client, is held up by one call of a script: each script in the
states that are dear to it, with a great many jobs on the timeline and in one queue.
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

_SCRIPTS = sorted(set(script_names().values()) - {"now"})  # that one reads a clock
_LEAST_MS = 0.1  # shorter calls do not matter here
_SHORT_LIST = 100  # up to this length scripts look through a list
_LOST_PAGES = 20_000  # jobs looked at
_UNSET = 20  # jobs
_COUNTED = 40_000  # takes a millisecond or so


class UnsetItself(Until):
    """Each run asks to be unset."""

    def work(self, jobid: str) -> None:
        """Count, and leave for good."""
        super().work(jobid)
        raise UnsetJob


def longest_calls(socket: str, jobs: int, calls: int) -> dict[str, float]:
    """Milliseconds of the longest call of each script, and of what the machine adds to a call: the server, too, has to
    wait for a core. For that, a script that counts for a millisecond is called as often as `promote`.
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
    """Others left jobs in the set that are not in the list, so that the list is looked through for each of them."""
    fill_timeline(server, 10 * _SHORT_LIST)
    jobids = [f"{number}:A" for number in range(10 * _SHORT_LIST)]
    server.sadd(f"{QUEUE_KEY}-members", *jobids)
    server.lpush(QUEUE_KEY, *(f"other-{number}:A" for number in range(_SHORT_LIST)))
    _dispatch_all(make_bike(socket, NoOp("A")))


def _set_all_kinds(bike: Redbike, jobs: int, calls: int) -> None:
    """New jobs and known ones, due at once, soonest of all, later, and never."""
    for number in range(calls // 10):
        known, new = f"{number * jobs // calls}:A", f"new-{number}:A"
        for jobid in (known, new):
            for schedule in ("CONTINUE", "AT:1", "AT:4000000000", daily(number), "STOP"):
                bike.set(jobid, schedule)


def _unset_some(bike: Redbike, jobs: int, offset: int) -> None:
    """From all along the timeline, or the queue: its ends and its middle. A long queue takes many calls for each."""
    for number in range(_UNSET):
        bike.unset(f"{offset + number * jobs // _UNSET}:A")


def _dispatch_all(bike: Redbike) -> None:
    bike.control("HALT")
    bike.dispatch()
    bike.clear_control()


def _work_some(socket: str, worker: Until) -> None:
    make_bike(socket, worker, worker.stop_event).work()


def _look_for_lost(bike: Redbike, server: Any) -> None:
    """Jobs that their schedule leads on, in the queue, as `redbike lost` looks at them: page by page."""
    for start in range(0, _LOST_PAGES, 1_000):
        jobids = [f"{number}:A" for number in range(start, start + 1_000)]
        server.hset(f"{PREFIX}-schedules", mapping=dict.fromkeys(jobids, "CONTINUE"))
    list(islice(bike.get_lost(), _LOST_PAGES))


def _watch_idle(bike: Redbike) -> None:
    """A dispatcher that has nothing to move, over a queue with jobs that nobody takes."""
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
