"""D1, D2, D6 and D7: how a worker takes jobs from its queues, and what a late run changes.

Under HALT a call of `work()` is one turn. Most tests go through the work in such steps.
"""

import logging
import math
import time
from collections.abc import Callable

import pytest
from conftest import Fleet, Recorder
from helpers import Now, event, members, put, queued, take
from nodes import eventually
from state import state
from threads import Loops

from redbike import Redbike, StopWork, UnsetJob
from redbike.errors import WorkerError

# D1: the order


@pytest.mark.parametrize(
    ("initstring", "order"),
    [
        ("A:A:B", "AABAABAB"),
        ("A:B", "ABABABAA"),
        ("B:A:A", "BAABAABA"),
        ("A", "AAAAAA"),
        ("B", "BBB"),
    ],
)
def test_queues_are_served_in_the_order_of_queue_names(fleet: Fleet, initstring: str, order: str, loops: Loops) -> None:
    """D1: with `A:A:B` and work in both, A is served twice as often as B; each queue is first in, first out."""
    worker = Recorder(initstring)
    feeder = fleet(Recorder("A:B"))
    put(feeder, *(f"{n}:A" for n in range(order.count("A"))), *(f"{n}:B" for n in range(order.count("B"))))
    loops.work(worker)
    eventually(lambda: len(worker.done) == len(order))
    assert "".join(jobid[-1] for jobid in worker.done) == order
    for code in set(order):
        assert [jobid for jobid in worker.done if jobid.endswith(code)] == [
            f"{n}:{code}" for n in range(order.count(code))
        ]


def test_an_empty_queue_costs_its_turn_nothing(fleet: Fleet, loops: Loops) -> None:
    """D1: jobs of the last of many queues follow one another without a wait for the empty queues before it."""
    worker = Recorder(":".join("ABCDEFGH"))
    put(fleet(worker), *(f"{n}:H" for n in range(20)))
    began = time.monotonic()
    loops.work(worker)
    eventually(lambda: len(worker.done) == 20)
    assert time.monotonic() - began < 0.9, "a wait of a second must not be part of it"


# D2: taking a job


def test_taking_a_job_leaves_list_and_members_and_sets_tag_and_status(bike: Redbike) -> None:
    """D2: a job that is taken leaves list and members, gets a run tag that expires after the timeout, and is `WRK`."""
    bike.set("j:A", "CONTINUE")
    bike.set("k:A", "CONTINUE")
    jobid, tag = next(bike.consumer)
    assert jobid == "j:A"
    assert queued(bike) == ["k:A"]
    assert members(bike) == {"k:A"}
    tag_key = f"{bike.prefix}-work-A-j:A"
    assert bike.redis.get(tag_key) == tag.encode()
    assert 9_000 < bike.redis.pttl(tag_key) <= 10_000
    assert bike.tell("j:A") == {
        "status": Now(bike, "WRK"),
        "next_run": None,
        "schedule": "CONTINUE",
        "working": True,
    }


def test_run_tags_are_random(bike: Redbike) -> None:
    """D2: no two runs share a tag."""
    tags = []
    for _ in range(50):
        bike.set("j:A", "CONTINUE")
        tags.append(next(bike.consumer)[1])
        bike.redis.delete(f"{bike.prefix}-work-A-j:A")
    assert len(set(tags)) == 50
    assert all(len(tag) >= 16 for tag in tags)


def test_two_workers_never_take_one_job(fleet: Fleet, loops: Loops) -> None:
    """D2: many workers on one queue run each job once."""
    workers = [Recorder() for _ in range(4)]
    jobids = [f"{n}:A" for n in range(200)]
    put(fleet(), *jobids)
    for worker in workers:
        loops.work(worker)
    eventually(lambda: sum(len(worker.done) for worker in workers) >= 200)
    assert sorted(jobid for worker in workers for jobid in worker.done) == sorted(jobids)


# D6: late runs


def lose_tag(bike: Redbike) -> None:
    """Wait until the run has exceeded its timeout."""
    began = time.monotonic()
    tag = f"{bike.prefix}-work-A-j:A"
    eventually(lambda: not bike.redis.exists(tag) and time.monotonic() - began > 2 * bike.default_timeout)


def change_tag(bike: Redbike) -> None:
    bike.redis.set(f"{bike.prefix}-work-A-j:A", "somebody else's")


@pytest.mark.parametrize("spoil", [lose_tag, change_tag])
@pytest.mark.parametrize("end", [None, 5, StopWork(), UnsetJob(), ValueError("v")])
def test_a_late_run_changes_nothing(
    halted: Redbike,
    worker: Recorder,
    spoil: Callable[[Redbike], None],
    end: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """D6: a run that ends when its tag is gone or belongs to another run changes nothing; one warning says so."""
    before: list[object] = []

    def act() -> object:
        spoil(halted)
        before.append(state(halted.redis, halted.prefix))
        if isinstance(end, Exception):
            raise end
        return end

    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = act
    halted.default_timeout = 0.05
    halted.work()
    assert state(halted.redis, halted.prefix) == before[0]
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "'j:A'" in warning.message


def test_a_run_that_outlives_its_timeout_is_late(
    halted: Redbike, worker: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """D6: a run that takes longer than its timeout is not interrupted, but its end does not count."""
    worker.timeouts[f"{halted.prefix}-work-A"] = 0.05
    halted.set("j:A", "CONTINUE")

    def act() -> None:
        eventually(lambda: not halted.is_working("j:A"))
        time.sleep(0.05)  # The tag expires by the server's clock: a little later, it is late by the worker's, too.

    worker.acts["j:A"] = act
    halted.work()
    assert worker.done == ["j:A"]
    assert event(halted, "j:A") == "WRK"
    assert queued(halted) == []
    assert len(caplog.records) == 1


def test_of_two_runs_the_later_one_counts(fleet: Fleet) -> None:
    """D6: if a timed-out job was run again, the end of its first run does not touch the second run."""
    slow, quick = Recorder(), Recorder()
    first, second = fleet(slow), fleet(quick)
    first.control("HALT")
    slow.timeouts[f"{first.prefix}-work-A"] = 0.05

    def act() -> None:
        eventually(lambda: not first.is_working("j:A"))
        second.set("j:A", "CONTINUE")
        assert take(second) == "j:A"

    first.set("j:A", "CONTINUE")
    slow.acts["j:A"] = act
    first.work()
    assert first.is_working("j:A"), "the second run is still under way"
    assert queued(first) == []


# D7: timeouts


def test_the_timeout_is_asked_for_the_full_queue_key(bike: Redbike, worker: Recorder) -> None:
    """D7: `timeout()` receives the full key of the queue, and its result is the expiry of the run tag."""
    asked: list[str] = []

    def timeout(queue_name: str) -> float:
        asked.append(queue_name)
        return 77.5

    worker.timeout = timeout  # type: ignore[method-assign]
    bike.set("j:A", "CONTINUE")
    assert take(bike) == "j:A"
    assert set(asked) == {f"{bike.prefix}-work-A"}
    assert 76_000 < bike.redis.pttl(f"{bike.prefix}-work-A-j:A") <= 77_500


def test_each_queue_has_its_own_timeout(fleet: Fleet) -> None:
    """D7: each queue has its own timeout, and None means the default."""
    worker = Recorder("A:B")
    bike = fleet(worker, default_timeout=33)
    worker.timeouts[f"{bike.prefix}-work-B"] = 99
    bike.set("j:A", "CONTINUE")
    bike.set("j:B", "CONTINUE")
    assert [take(bike), take(bike)] == ["j:A", "j:B"]
    assert 32 <= bike.redis.ttl(f"{bike.prefix}-work-A-j:A") <= 33
    assert 98 <= bike.redis.ttl(f"{bike.prefix}-work-B-j:B") <= 99


def test_the_default_timeout_is_ten_seconds(bike: Redbike) -> None:
    """D7: by default, a run may take ten seconds."""
    assert bike.default_timeout == 10
    bike.set("j:A", "CONTINUE")
    take(bike)
    assert 9_000 < bike.redis.pttl(f"{bike.prefix}-work-A-j:A") <= 10_000


@pytest.mark.parametrize("given", [0, -1, "ten", True, math.nan, math.inf, 1e12])
def test_a_timeout_that_makes_no_sense_is_refused(bike: Redbike, worker: Recorder, given: object) -> None:
    """D7: a timeout that is not a number of seconds is an error that names it, and no job is taken."""
    worker.timeouts[f"{bike.prefix}-work-A"] = given  # type: ignore[assignment]
    bike.set("j:A", "CONTINUE")
    with pytest.raises(WorkerError, match=r"Recorder: timeout\('.*-work-A'\) returned .*number of seconds"):
        bike.work()
    assert queued(bike) == ["j:A"]
