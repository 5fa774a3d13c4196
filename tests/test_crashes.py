"""C7: a dispatcher, a worker or a `set` that crashes between any two commands."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from conftest import Fleet, Recorder, Server
from helpers import DAILY, FUTURE, PAST, checked_queue
from redis.connection import ConnectionPool, UnixDomainSocketConnection
from state import state

from redbike import Redbike

# C7: crashes


class Crash(BaseException):
    """The process ends here."""


class Mortal(UnixDomainSocketConnection):
    """A connection whose process crashes before it sends its n-th command, or before it reads the reply."""

    countdown: Iterator[int] = itertools.count(1)
    fatal = 0.0  # n: before the n-th command; n + 0.5: after it

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        number = next(Mortal.countdown)
        if number == Mortal.fatal:
            raise Crash
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]
        if number + 0.5 == Mortal.fatal:
            with contextlib.suppress(redis.ResponseError):
                super().read_response()  # so that the command was carried out
            raise Crash


DYING_CONNECTION = pytest.mark.not_on_a_cluster("the client makes its connections by itself")


def mortal(fleet: Fleet, server: Server, worker: Recorder) -> Redbike:
    pool = ConnectionPool(connection_class=Mortal, path=server.socket, protocol=2)
    return fleet(worker, redis_config={"connection_pool": pool})


def crashes(act: Callable[[], object], at: float) -> bool:
    """Return True if a crash at this point ended the act, and False if the act ended before."""
    Mortal.countdown, Mortal.fatal = itertools.count(1), at
    try:
        act()
    except Crash:
        return True
    finally:
        Mortal.fatal = 0.0
    return False


CRASH_POINTS = [point / 2 for point in range(2, 60)]


def whereabouts(client: redis.Redis, prefix: str, job: str) -> list[str]:
    now = state(client, prefix)
    places = {"timeline": now.get("-timeline", ()), "queue": now.get("-work-A", ())}
    found = [place for place, jobs in places.items() if job in jobs]
    return found + (["running"] if f"-work-A-{job}" in now else [])


@DYING_CONNECTION
def test_dispatcher_that_crashes(halted: Redbike, fleet: Fleet, server: Server) -> None:
    """C7: a dispatcher may crash between any two commands: each due job is on the timeline or in the queue, and the
    next dispatcher finishes the work.
    """
    jobs = ["a:A", "b:A", "c:A"]
    for point in CRASH_POINTS:
        for job in jobs:
            halted.set(job, f"AT:{PAST}")
        crashed = crashes(mortal(fleet, server, Recorder()).dispatch, point)
        for job in jobs:
            assert len(whereabouts(halted.redis, halted.prefix, job)) == 1
        halted.dispatch()
        assert checked_queue(halted) == jobs
        for job in jobs:
            halted.unset(job)
        if not crashed:
            break
    assert not crashed
    assert point > 4


@DYING_CONNECTION
@pytest.mark.parametrize("schedule", ["CONTINUE", DAILY])
def test_worker_that_crashes(halted: Redbike, fleet: Fleet, server: Server, schedule: str) -> None:
    """C7: a worker may crash between any two commands: the job is in exactly one place: on the timeline, in the queue,
    or marked as running.
    """
    for point in CRASH_POINTS:
        halted.set("x:A", schedule)
        halted.enqueue("x:A")
        if schedule == DAILY:
            halted.redis.zrem(halted.timeline_key, "x:A")
        worker = Recorder()
        crashed = crashes(mortal(fleet, server, worker).work, point)
        [place] = whereabouts(halted.redis, halted.prefix, "x:A")
        if not crashed:
            assert worker.done == ["x:A"]
            assert place == ("queue" if schedule == "CONTINUE" else "timeline")
            break
        halted.flush()
        halted.control("HALT")
    assert not crashed
    assert point > 3


@DYING_CONNECTION
@pytest.mark.parametrize("schedule", ["NOW", f"AT:{PAST}", "CONTINUE", DAILY])
@pytest.mark.parametrize("old", ["NOW", f"AT:{FUTURE}", DAILY])
def test_set_that_crashes(halted: Redbike, fleet: Fleet, server: Server, old: str, schedule: str) -> None:
    """C7: `set` may crash between any two commands: the job has all of its old schedule or all of its new schedule."""

    def jobs() -> dict[str, Any]:
        now = state(halted.redis, halted.prefix)
        return {
            "schedule": now["-schedules"]["x:A"],
            "event": now["-statuses"]["x:A"][:3],
            "where": whereabouts(halted.redis, halted.prefix, "x:A"),
            "due": now.get("-timeline"),
        }

    halted.set("x:A", old, after=PAST)
    before = jobs()
    halted.set("x:A", schedule, after=PAST)
    afterwards = jobs()
    for point in CRASH_POINTS:
        halted.unset("x:A")
        halted.set("x:A", old, after=PAST)
        other = mortal(fleet, server, Recorder())
        crashed = crashes(lambda other=other: other.set("x:A", schedule, after=PAST), point)  # type: ignore[misc]
        assert jobs() in ((before, afterwards) if crashed else (afterwards,))
        if not crashed:
            break
    assert not crashed
