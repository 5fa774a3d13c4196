"""Shared by the measuring functions: a Redbike of the installed version, and states to start from.

Uses only the interface that both versions have.
"""

import inspect
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import redis

from redbike import Redbike, RoundRobin

PREFIX = "redbike"
QUEUE_KEY = f"{PREFIX}-work-A"


class NoOp(RoundRobin):
    """A worker that does nothing, and so shows the cost of everything around a job."""

    def work(self, jobid: str) -> None:
        """Return at once."""


class Until(RoundRobin):
    """A worker that only counts runs, and asks to stop when it reaches the count or the time."""

    def __init__(self, runs: int | None = None, seconds: float | None = None) -> None:
        super().__init__("A")
        self.stop_event = threading.Event()
        self.count = 0
        self._runs, self._seconds = runs, seconds
        self._first_at = self._last_at = 0.0

    def work(self, jobid: str) -> None:  # noqa: ARG002 - every worker gets the job's id
        """Count a run. The clock starts with the first run, so it does not include connecting and loading scripts."""
        self._last_at = time.perf_counter()
        if not self.count:
            self._first_at = self._last_at
        self.count += 1
        if self.count == self._runs or (self._seconds and self._last_at - self._first_at >= self._seconds):
            self.stop_event.set()

    @property
    def rate(self) -> float:
        """The runs per second."""
        return (self.count - 1) / (self._last_at - self._first_at)


class Meter:
    """The CPU time of this process and of the server within the `with` block. It varies less than elapsed time."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.here_us = self.server_us = 0.0

    def __enter__(self) -> Self:
        self._here_s, self._server_s = time.process_time(), self._server_cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.here_us = 1e6 * (time.process_time() - self._here_s)
        self.server_us = 1e6 * (self._server_cpu_s() - self._server_s)

    def _server_cpu_s(self) -> float:
        cpu: dict[str, float] = self._server.info("cpu")
        return cpu["used_cpu_user"] + cpu["used_cpu_sys"]


def make_bike(
    socket: str,
    worker: RoundRobin,
    stop_event: threading.Event | None = None,
    by_tcp: bool = False,
    without_history: bool = False,
) -> Redbike:
    """Return a Redbike on the private server. Its own time file is next to the socket, and does not exist at first.

    `without_history`: record no runs, if the version can record runs.
    """
    timefile = Path(socket).parent / f"timefile-{time.monotonic_ns()}"
    config: dict[str, Any] = {"unix_socket_path": socket}
    if by_tcp:
        config = {"host": "127.0.0.1", "port": int(client(socket).config_get("port")["port"])}
    more: dict[str, Any] = {}
    if without_history and "history" in inspect.signature(Redbike.__init__).parameters:
        more = {"history": 0}
    return Redbike(worker, redis_config=config, timefile=str(timefile), stop_event=stop_event, **more)


def client(socket: str) -> Any:
    """Return a plain client, to prepare states and to read the counters of the server."""
    return redis.Redis(unix_socket_path=socket)


def commands_processed(server: Any) -> int:
    """Return the number of commands that the server has processed, without this one."""
    return int(server.info("stats")["total_commands_processed"])


def fill_circle(bike: Redbike, jobs: int) -> None:
    """Set jobs that run again and again without end."""
    for number in range(jobs):
        bike.set(f"{number}:A", "CONTINUE")


def fill_timeline(server: Any, jobs: int) -> None:
    """Write jobs that are all due, a thousand per command: the state that `set` with `AT:` leaves."""
    for start in range(0, jobs, 1_000):
        jobids = [f"{number}:A" for number in range(start, min(start + 1_000, jobs))]
        pipe = server.pipeline(transaction=False)
        for key, value in ((f"{PREFIX}-schedules", "STOP"), (f"{PREFIX}-statuses", "TML:1500000000")):
            pipe.execute_command("HSET", key, *(word for jobid in jobids for word in (jobid, value)))
        due = ((1_500_000_000 + number, jobid) for number, jobid in enumerate(jobids, start))
        pipe.execute_command("ZADD", f"{PREFIX}-timeline", *(word for pair in due for word in pair))
        pipe.execute()


def put_on_timeline(server: Any, due: Mapping[str, float]) -> None:
    """Write the state that `set` with `AT:` leaves directly: this is fast, and as precise as a score can be."""
    pipe = server.pipeline(transaction=False)
    for number, (jobid, due_at) in enumerate(due.items(), start=1):
        pipe.hset(f"{PREFIX}-schedules", jobid, "STOP")
        pipe.hset(f"{PREFIX}-statuses", jobid, "TML:1500000000")
        pipe.execute_command("ZADD", f"{PREFIX}-timeline", repr(due_at), jobid)
        if number % 1_000 == 0:
            pipe.execute()
    pipe.execute()


def daily(number: int) -> str:
    """Return a recurrence without a start to walk from: one of 1,440 texts, so that a cache helps only partly."""
    hour, minute = divmod(number % 1440, 60)
    return f"RRULE:FREQ=DAILY;BYHOUR={hour};BYMINUTE={minute};BYSECOND=0"
