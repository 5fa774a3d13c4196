"""The state in Redis, which other programs share: entries written from outside, odd bytes, and event codes."""

import re
import threading
import time
from collections.abc import Callable

import pytest
import redis
from conftest import Fleet, Recorder, Running
from helpers import FUTURE, PAST, dispatch_at, raising, server_now
from nodes import eventually
from state import state

from redbike import Redbike, StopWork
from redbike.store.keys import ADDED_STATE

ODD = b"\xff\xfe:A"


def seconds_until(condition: Callable[[], object]) -> float:
    """Wait for the condition, and return how many seconds that took."""
    began = time.monotonic()
    eventually(condition)
    return time.monotonic() - began


# A1: others write, and we notice


def test_timeline_entry_of_another_program(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """A1: an idle dispatcher notices within a second a job that another program puts on the timeline, and an idle
    worker runs it.
    """
    worker = Recorder()
    running(lambda stop: fleet(worker, stop_event=stop).work)
    running(lambda stop: fleet(stop_event=stop).dispatch)
    bike.set("warm:A", "NOW")
    eventually(lambda: worker.done == ["warm:A"])
    time.sleep(0.1)  # both are idle again, and have just begun to wait
    bike.redis.hset(bike.schedules_key, "hand:A", "STOP")
    bike.redis.zadd(bike.timeline_key, {"hand:A": PAST})
    assert seconds_until(lambda: "hand:A" in worker.done) < 1.2


def test_future_timeline_entry_of_another_program_is_on_time(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """A1: a job that another program puts on the timeline for a moment within the next second does not run before that
    moment.
    """
    ran_at: list[float] = []
    worker = Recorder()
    worker.acts["hand:A"] = lambda: ran_at.append(server_now(bike))
    running(lambda stop: fleet(worker, stop_event=stop).work)
    running(lambda stop: fleet(stop_event=stop).dispatch)
    due_at = server_now(bike) + 0.4
    bike.redis.zadd(bike.timeline_key, {"hand:A": due_at})
    eventually(lambda: ran_at)
    assert 0 <= ran_at[0] - due_at < 1.2


def test_queue_entry_of_another_program(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """A1: a job that another program puts into a queue without ringing a bell is noticed within a second."""
    worker = Recorder()
    running(lambda stop: fleet(worker, stop_event=stop).work)
    bike.set("warm:A", "NOW")
    eventually(lambda: worker.done == ["warm:A"])
    time.sleep(0.1)  # the worker has just begun to wait again
    bike.redis.hset(bike.schedules_key, "hand:A", "STOP")
    bike.redis.lpush(bike.queue_for("hand:A"), "hand:A")
    bike.redis.sadd(f"{bike.queue_for('hand:A')}-members", "hand:A")
    assert seconds_until(lambda: "hand:A" in worker.done) < 1.2
    eventually(lambda: bike.tell("hand:A")["status"] not in (None, "WRK"))
    assert state(bike.redis, bike.prefix)["-schedules"] == {"warm:A": "STOP", "hand:A": "STOP"}


def test_halt_of_another_program(bike: Redbike, fleet: Fleet) -> None:
    """A1: a HALT of another program stops an idle dispatcher and an idle worker within about a second."""
    loops = [threading.Thread(target=loop, daemon=True) for loop in (fleet().dispatch, fleet().work)]
    for loop in loops:
        loop.start()
    time.sleep(0.1)  # both are idle, and have just begun to wait
    bike.redis.set(bike.control_key, "HALT")
    began = time.monotonic()
    for loop in loops:
        loop.join(5)
        assert not loop.is_alive()
    assert time.monotonic() - began < 1.4


def test_added_keys_are_never_needed(bike: Redbike, fleet: Fleet, running: Running) -> None:
    """A1: while another program keeps deleting each key that 0.13.1 does not know, each job still runs, once."""
    workers = [Recorder(), Recorder()]
    for worker in workers:
        running(lambda stop, worker=worker: fleet(worker, stop_event=stop).work)  # type: ignore[misc]
    running(lambda stop: fleet(stop_event=stop).dispatch)
    jobs = [f"{number}:A" for number in range(150)]

    def deleting(stop: threading.Event) -> Callable[[], None]:
        def delete() -> None:
            while not stop.wait(0.001):
                for key in bike.redis.scan_iter(match=f"{bike.prefix}:*", count=1000):
                    bike.redis.delete(key)

        return delete

    running(deleting)
    for number, job in enumerate(jobs):
        bike.set(job, "NOW" if number % 2 else f"AT:{PAST}")
    eventually(lambda: sum(len(worker.done) for worker in workers) >= len(jobs))
    assert sorted(workers[0].done + workers[1].done) == sorted(jobs)


def test_added_keys_carry_other_names(bike: Redbike, worker: Recorder) -> None:
    """A1: every key and every channel is in the table, or its name differs from all names in the table."""
    worker.acts["c:A"] = lambda: 100
    for job, schedule in (("n:A", "NOW"), ("c:A", "CONTINUE"), ("r:A", "RRULE:FREQ=DAILY"), ("b:A", "garbage")):
        bike.set(job, schedule)
    next(bike.consumer)
    bike.control("HALT")
    bike.work()
    bike.dispatch()
    shared = {"-schedules", "-statuses", "-timeline", "-control", "-work-A", "-work-A-members", "-work-A-n:A"}
    assert all(doc.key.startswith("P:") for doc in ADDED_STATE)
    for name in state(bike.redis, bike.prefix):
        assert name in shared or name.startswith(":"), name


def test_state_of_another_make_is_understood(bike: Redbike, worker: Recorder) -> None:
    """A1: a state that another program wrote, with the keys of the table alone, is worked off."""
    client, prefix = bike.redis, bike.prefix
    client.hset(f"{prefix}-schedules", mapping={"q:A": "STOP", "t:A": "CONTINUE"})
    client.hset(f"{prefix}-statuses", mapping={"q:A": "ENQ:1500000000", "t:A": "TML:1500000000"})
    client.zadd(f"{prefix}-timeline", {"t:A": 1_500_000_000})
    client.lpush(f"{prefix}-work-A", "q:A")
    client.sadd(f"{prefix}-work-A-members", "q:A")
    client.set(f"{prefix}-control", "HALT")
    bike.dispatch()
    bike.work()
    bike.work()
    assert worker.done == ["q:A", "t:A"]
    after = state(client, prefix)
    after["-statuses"] = {job: status[:4] for job, status in after["-statuses"].items()}
    assert after == {
        "-schedules": {"q:A": "STOP", "t:A": "CONTINUE"},
        "-statuses": {"q:A": "STP:", "t:A": "ENQ:"},
        "-control": "HALT",
        "-work-A": ["t:A"],
        "-work-A-members": {"t:A"},
        ":bell:work-A": ["1"],
    }


def other_take(client: redis.Redis, prefix: str, job: str) -> None:
    """Take a job from the queue work-A like another program's worker."""
    assert client.rpop(f"{prefix}-work-A") == job.encode()
    client.srem(f"{prefix}-work-A-members", job)
    client.set(f"{prefix}-work-A-{job}", "their tag", ex=10)
    client.hset(f"{prefix}-statuses", job, "WRK:1500000000")


def test_run_of_another_make_is_respected(bike: Redbike, worker: Recorder) -> None:
    """A1: a job that runs in another program's worker is neither queued nor started a second time; a run that is asked
    for meanwhile follows it.
    """
    client, prefix = bike.redis, bike.prefix
    bike.set("x:A", "CONTINUE")
    other_take(client, prefix, "x:A")
    assert bike.is_working("x:A")
    bike.control("HALT")
    bike.set("x:A", "NOW")
    bike.dispatch()
    assert next(bike.consumer)[0] is None
    client.delete(f"{prefix}-work-A-x:A")
    client.hset(f"{prefix}-statuses", "x:A", "STP:1500000000")
    dispatch_at(bike, FUTURE)
    bike.work()
    assert worker.done == ["x:A"]


def test_members_without_a_list_entry_do_not_block(bike: Redbike, worker: Recorder) -> None:
    """A1: an id that is in the set of members but not in the list is still queued again."""
    bike.redis.sadd(f"{bike.queue_for('x:A')}-members", "x:A")
    bike.control("HALT")
    bike.set("x:A", "NOW")
    bike.work()
    bike.redis.sadd(f"{bike.queue_for('x:A')}-members", "y:A")
    bike.set("y:A", f"AT:{PAST}")
    bike.dispatch()
    bike.work()
    assert worker.done == ["x:A", "y:A"]


def test_queue_entry_of_another_program_during_a_run_waits(bike: Redbike, fleet: Fleet, worker: Recorder) -> None:
    """A1: a running job that another program queues is not started a second time, and runs after that run."""
    second = Recorder()
    other = fleet(second)
    bike.control("HALT")

    def queued_by_hand() -> None:
        bike.redis.lpush(bike.queue_for("x:A"), "x:A")
        bike.redis.sadd(f"{bike.queue_for('x:A')}-members", "x:A")
        other.work()

    worker.acts["x:A"] = queued_by_hand
    bike.set("x:A", "NOW")
    bike.work()
    dispatch_at(other, FUTURE)
    other.work()
    assert (worker.done, second.done) == (["x:A"], ["x:A"])


# A2: odd bytes


def put_odd(bike: Redbike, place: str) -> None:
    client = bike.redis
    queue = bike.queue_for("x:A")
    if place == "timeline":
        client.zadd(bike.timeline_key, {ODD: 1})
    elif place == "queue":
        client.lpush(queue, ODD)
        client.sadd(f"{queue}-members", ODD)
    elif place == "queue and schedules":
        client.hset(bike.schedules_key, ODD, b"CONTINUE")
        client.lpush(queue, ODD)
        client.sadd(f"{queue}-members", ODD)
    elif place == "schedule":
        client.hset(bike.schedules_key, "odd:A", b"\xff")
        client.lpush(queue, "odd:A")
        client.sadd(f"{queue}-members", "odd:A")
    elif place == "statuses":
        client.hset(bike.statuses_key, ODD, b"\xff\xfe")
        assert list(bike.get_statuses(before=FUTURE)) == [("good:A", "TML", bike_second(bike, "good:A"))]
    elif place == "schedules":
        client.hset(bike.schedules_key, ODD, b"\xff")
        assert dict(bike.get_schedules()) == {"good:A": "STOP", "\udcff\udcfe:A": "\udcff"}
    else:
        client.set(bike.control_key, b"\xff")


def bike_second(bike: Redbike, job: str) -> int:
    return int(str(bike.tell(job)["status"]).partition(":")[2])


@pytest.mark.parametrize(
    ("place", "reported"),
    [
        ("timeline", True),
        ("queue", True),
        ("queue and schedules", True),
        ("schedule", True),
        ("statuses", True),
        ("schedules", False),
        ("control", False),
    ],
)
def test_odd_bytes(
    bike: Redbike, fleet: Fleet, running: Running, caplog: pytest.LogCaptureFixture, place: str, reported: bool
) -> None:
    """A2: bytes that are not UTF-8, in any key, stop neither a dispatcher nor a worker nor a listing: that job is
    reported and not run, and the others go on.
    """
    bike.set("good:A", f"AT:{PAST}")
    put_odd(bike, place)
    worker = Recorder()
    running(lambda stop: fleet(worker, stop_event=stop).work)
    running(lambda stop: fleet(stop_event=stop).dispatch)
    eventually(lambda: "good:A" in worker.done)
    bike.set("later:A", "NOW")
    eventually(lambda: "later:A" in worker.done)
    assert set(worker.done) <= {"good:A", "later:A", "odd:A"}
    warnings = [record.getMessage() for record in caplog.records]
    assert any(r"\xff" in line or "odd:A" in line or r"\udcff" in line for line in warnings) == reported, warnings


@pytest.mark.parametrize("where", ["timeline", "queue"])
def test_odd_id_is_bad(bike: Redbike, where: str) -> None:
    """A2, A3: a registered job whose id is not UTF-8 becomes BAD, and is in no queue and not on the timeline."""
    bike.redis.hset(bike.schedules_key, ODD, b"CONTINUE")
    put_odd(bike, where)
    bike.control("HALT")
    bike.dispatch()
    bike.work()
    after = state(bike.redis, bike.prefix)
    assert after.pop("-statuses")["\udcff\udcfe:A"].startswith("BAD:")
    after.pop(":bell:work-A", None)  # a halt wakes idle workers
    assert after == {"-schedules": {"\udcff\udcfe:A": "CONTINUE"}, "-control": "HALT"}


# A3: event codes


def test_event_codes(bike: Redbike, worker: Recorder) -> None:
    """A3: each event of a job has its code and its time in whole seconds as status, and nothing else."""
    seen: dict[str, str] = {}

    def note(job: str) -> str:
        status = str(bike.tell(job)["status"])
        assert re.fullmatch(r"(TML|ENQ|BAD|WRK|STP|DIE):\d{10}", status)
        assert abs(int(status[4:]) - server_now(bike)) < 3
        seen[status[:3]] = job
        return status[:3]

    bike.control("HALT")
    worker.acts["run:A"] = lambda: note("run:A")
    worker.acts["die:A"] = raising(RuntimeError("on purpose"))
    worker.acts["quit:A"] = raising(StopWork())
    for job, schedule, code in (
        ("time:A", f"AT:{FUTURE}", "TML"),
        ("rule:A", "RRULE:FREQ=DAILY", "TML"),
        ("bad:A", "garbage", "BAD"),
        ("stop:A", "STOP", "STP"),
        ("run:A", "NOW", "ENQ"),
    ):
        bike.set(job, schedule)
        assert note(job) == code
    bike.work()
    assert note("run:A") == "STP"
    for job, code in (("die:A", "DIE"), ("quit:A", "STP")):
        bike.set(job, "CONTINUE")
        bike.work()
        assert note(job) == code
    bike.set("due:A", f"AT:{PAST}")
    bike.dispatch()
    assert note("due:A") == "ENQ"
    assert set(seen) == {"TML", "ENQ", "BAD", "WRK", "STP", "DIE"}
