"""Values and functions that several test files share. Fixtures are in conftest.py."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis
from state import state

from redbike import Redbike
from redbike.store.keys import Keys

if TYPE_CHECKING:
    from conftest import Recorder

ROOT = Path(__file__).parent.parent

PAST, FUTURE = 1_000_000_000, 4_000_000_000
HOUR_S = 3600
DAY_S = 24 * HOUR_S
YEAR_2026 = 1_767_225_600
# No question to a recurrence may take longer. The slowest takes a fraction of this on an idle machine.
LONGEST_ANSWER_S = 0.5

DAILY = "RRULE:FREQ=DAILY"
HOURLY = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY"
EXHAUSTED = f"{HOURLY};COUNT=3"


def raising(error: BaseException) -> Callable[[], object]:
    """Return an act for a job that raises the error."""

    def act() -> object:
        raise error

    return act


def dispatch_at(bike: Redbike, at: float) -> None:
    """Do one pass for this time, also a future one. (`dispatch` of a halted prefix never goes beyond the present.)"""
    bike._parts.make_dispatcher().run(at)


def halt_at_once(bike: Redbike) -> None:
    """Halt the prefix and wake its idle dispatchers and the workers of this worker's queues, so that no test waits."""
    bike.control("HALT")
    keys = Keys(bike.prefix)
    bike.redis.publish(keys.wake, "nobody:A")
    for queue_key in bike.queue_names():
        bike.redis.lpush(keys.bell(queue_key), *["1"] * 16)


def server_now(bike: Redbike) -> float:
    """Return the Unix time of the server's clock."""
    moment: Any = bike.redis.time()
    return float(moment[0] + moment[1] / 1e6)


def utc(*moment: int) -> int:
    """Return the Unix time of a year, month, day and so on in UTC."""
    return int(datetime(*moment, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]


def event(bike: Redbike, jobid: str) -> str | None:
    """Return the last event of a job."""
    status = bike.tell(jobid)["status"]
    return None if status is None else status.partition(":")[0]


def events(bike: Redbike) -> dict[str, str]:
    """Return the last event of every job."""
    return {jobid: event for jobid, event, _ in bike.get_statuses(before=9e9)}


def state_of(bike: Redbike) -> dict[str, Any]:
    """Return everything that Redis holds under the prefix."""
    return state(bike.redis, bike.prefix)


def queued(bike: Redbike, code: str = "A") -> list[str]:
    """Return the jobs in the queue `work-CODE`, the next one first."""
    found: Any = bike.redis.lrange(f"{bike.prefix}-work-{code}", 0, -1)
    return [jobid.decode() for jobid in reversed(found)]


def checked_queue(bike: Redbike) -> list[str]:
    """Return the jobs in the queue `work-A`, the next one first; fail where its set of members is not the same."""
    now = state_of(bike)
    jobs = now.get("-work-A", [])
    assert now.get("-work-A-members", set()) == set(jobs)
    return list(reversed(jobs))


def members(bike: Redbike, code: str = "A") -> set[str]:
    """Return the set of members of the queue `work-CODE`."""
    found: Any = bike.redis.smembers(f"{bike.prefix}-work-{code}-members")
    return {jobid.decode() for jobid in found}


def check_places(bike: Redbike) -> None:
    """Check that each job is in its queue at most once, and then in the set of members, and not on the timeline too."""
    jobs = checked_queue(bike)
    assert max(Counter(jobs).values(), default=1) == 1
    assert not set(jobs) & set(timeline(bike))


def timeline(bike: Redbike) -> dict[str, float]:
    """Return the jobs on the timeline, and when they are due."""
    return dict(state_of(bike).get("-timeline", {}))


def put(bike: Redbike, *jobids: str) -> None:
    """Write jobs into their queues as another program does: no schedule is registered."""
    for jobid in jobids:
        bike.redis.lpush(bike.queue_for(jobid), jobid)
        bike.redis.sadd(f"{bike.queue_for(jobid)}-members", jobid)


def turns(bike: Redbike, number: int) -> None:
    """Do as many turns, on a halted prefix."""
    for _ in range(number):
        bike.work()


def take(bike: Redbike) -> str | None:
    """Take the next job, without running it."""
    return next(bike.consumer)[0]


def idle_loops(client: redis.Redis) -> int:
    """Return how many dispatchers and workers of the server wait for something to do."""
    clients: Any = client.client_list()
    return sum(one["cmd"] in ("blpop", "subscribe") for one in clients)


def lines(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    """Return the log lines that contain the part."""
    return [message for message in caplog.messages if part in message]


class Now:
    """Equal to a status with this event, of the present second or the second before it."""

    def __init__(self, bike: Redbike, event: str) -> None:
        self._bike, self._event = bike, event

    def __eq__(self, status: object) -> bool:
        second = int(server_now(self._bike))
        return status in (f"{self._event}:{second}", f"{self._event}:{second - 1}")

    __hash__ = None  # type: ignore[assignment]


class Answer(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    def by_lines(self) -> tuple[int, str, list[str]]:
        """Return the same, with stderr as a list of lines."""
        return self.code, self.out, self.err.splitlines()

    def one_line(self, code: int = 1) -> str:
        """Return the one line on stderr of a command that failed; fail where there is more, or another exit code."""
        assert self.code == code, (self.code, self.err)
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line)]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


Command = Callable[..., Answer]
"""Calls `redbike` with arguments, in this process."""


def write_conf(folder: Path, prefix: str, connection: str) -> None:
    """Write `.redbike.conf` with these lines in its section `[redbike-redis]`."""
    (folder / ".redbike.conf").write_text(f"[redbike]\nprefix: {prefix}\n[redbike-redis]\n{connection}")


def run_through(bike: Redbike, worker: "Recorder") -> None:
    """Set jobs, dispatch and run them, check what became of them, and flush."""
    bike.control("HALT")
    bike.set("now:A", "NOW")
    bike.set("at:A", "AT:1")
    bike.set("often:A", "CONTINUE")
    bike.dispatch()
    turns(bike, 3)
    assert sorted(worker.done) == ["at:A", "now:A", "often:A"]
    assert events(bike) == {"now:A": "STP", "at:A": "STP", "often:A": "ENQ"}
    bike.clear_control()
    assert bike.flush() > 0
