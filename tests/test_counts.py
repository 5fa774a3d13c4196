"""The counters of runs in P:metrics: what adds to them, that nothing adds twice, and how they are read."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from bench import JOB, NOW, OTHER, QUEUED, RUNNING, Bench, queue_of, wrong
from conftest import Fleet, Recorder
from helpers import raising, server_now, state_of
from nodes import eventually
from state import records
from threads import Loops

from redbike import BadJob, ConfigError, Later, Redbike, StopWork, UnsetJob
from redbike.store.counts import LIMITS_S, Counts
from redbike.store.keys import Keys

A = "work-A"


def counts(bike: Redbike) -> Counts:
    return Counts.read(bike.redis, Keys(bike.prefix))


def fields(bench: Bench) -> dict[str, str]:
    """Return the counters as Redis holds them."""
    return dict(bench.records().get(":metrics", {}))


def counting(bench: Bench, **more: Any) -> Bench:
    return Bench(bench.client, bench.prefix, index_running=True, metrics=True, **more)


# what is counted


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (lambda: None, "done"),
        (raising(StopWork()), "stopped"),
        (raising(UnsetJob()), "unset"),
        (raising(Later(60)), "later"),
        (raising(BadJob("no")), "bad"),
        (raising(ValueError("no")), "failed"),
    ],
    ids=["done", "stopped", "unset", "later", "bad", "failed"],
)
@pytest.mark.parametrize("history", [0, 10])
def test_each_outcome(fleet: Fleet, act: Callable[[], object], outcome: str, history: int) -> None:
    """A run adds one to the begun runs of its queue, and one to its outcome, with a history and without."""
    worker = Recorder()
    worker.acts[JOB] = act
    bike = fleet(worker, history=history)
    bike.control("HALT")
    bike.set(JOB, "CONTINUE")
    bike.work()
    found = counts(bike)
    assert (found.started, found.ended, found.retried) == ({A: 1}, {(A, outcome): 1}, {})


def test_the_lateness_of_a_run(halted: Redbike) -> None:
    """The lateness of a run is the time from its due time to its begin, in a bucket and in a sum."""
    at = round(server_now(halted)) - 10
    halted.set(JOB, f"AT:{at}")
    halted.dispatch()
    halted.work()
    found = counts(halted)
    [began] = [record.began for record in halted.get_history()]
    assert found.late_s[A] == pytest.approx(began - at, abs=0.01)
    [bucket] = [number for number, runs in enumerate(found.lateness[A]) if runs]
    assert LIMITS_S[bucket - 1] <= began - at < LIMITS_S[bucket]


@pytest.mark.parametrize(
    ("late_s", "bucket", "late_ms"),
    [
        (-5, "0", None),
        (0, "0", None),
        (0.0005, "0", None),
        (0.0015, "1", "1"),
        (1, "10", "1000"),
        (8000, "23", "8000000"),
        (8500, "inf", "8500000"),
        (None, "-", None),
    ],
)
def test_buckets(bench: Bench, late_s: float | None, bucket: str, late_ms: str | None) -> None:
    """A bucket holds the runs whose lateness is below its limit, in milliseconds; `-` those without a due time."""
    second = QUEUED["-statuses"][JOB].partition(":")[2]
    bench.given(QUEUED | ({} if late_s is None else {":due": {JOB: f"{NOW - late_s:.6f} 1 {second}"}}))
    counting(bench).take()
    late = {} if late_ms is None else {f"late_ms {A}": late_ms}
    assert fields(bench) == {f"started {bucket} {A}": "1", **late}


def test_a_further_attempt_is_not_late(fleet: Fleet) -> None:
    """The delay before a further attempt is no lateness: the attempt counts as begun, and is in no bucket."""
    worker = Recorder()
    worker.acts[JOB] = raising(ValueError("no"))
    bike = fleet(worker, on_error="retry", retries=1)
    bike.control("HALT")
    bike.set(JOB, f"AT:{round(server_now(bike)) - 10}")
    for _ in range(2):
        eventually(lambda: bike.dispatch() or bike.redis.exists(f"{bike.prefix}-work-A"), 10)
        bike.work()
    found = counts(bike)
    assert (found.started, found.retried, found.ended) == ({A: 2}, {A: 1}, {(A, "failed"): 2})
    assert (sum(found.lateness[A]), round(found.late_s[A])) == (1, 10)


def test_a_lost_run(fleet: Fleet, loops: Loops) -> None:
    """A lost run counts once, whatever number of dispatchers, and its end counts as late. `retry` counts it, too."""
    worker = Recorder()
    bike = fleet()
    loops.work(worker, default_timeout=0.3, on_timeout="retry", retries=1)
    again = []

    def act() -> None:
        if not again:
            again.append(1)
            eventually(lambda: counts(bike).ended.get((A, "lost")), 10)

    worker.acts[JOB] = act
    for _ in range(2):
        loops.dispatch(default_timeout=0.3, on_timeout="retry", retries=1)
    bike.set(JOB, "NOW")
    eventually(lambda: (A, "done") in counts(bike).ended, 15)
    found = counts(bike)
    assert found.ended == {(A, "lost"): 1, (A, "late"): 1, (A, "done"): 1}
    assert (found.started, found.retried) == ({A: 2}, {A: 1})


def test_a_fleet_adds_up(fleet: Fleet, loops: Loops) -> None:
    """The workers of a fleet add to the same counters, each to those of its queues."""
    bike = fleet(Recorder("A:B"))
    jobids = [f"{number}:{'AB'[number % 2]}" for number in range(40)]
    for jobid in jobids:
        bike.set(jobid, "NOW")
    for _ in range(2):
        loops.work(Recorder("A:B"))
    eventually(lambda: sum(counts(bike).ended.values()) == 40)
    found = counts(bike)
    assert found.ended == {("work-A", "done"): 20, ("work-B", "done"): 20}
    assert found.started == {"work-A": 20, "work-B": 20}


def test_when_halt_was_sent(bike: Redbike) -> None:
    """A HALT notes its time, which stays when the signal is cleared."""
    assert counts(bike).halted_at is None
    bike.control("HALT")
    bike.clear_control()
    assert abs((counts(bike).halted_at or 0) - server_now(bike)) < 5


# nothing twice, and nothing at all


def test_a_repeated_call_counts_once(bench: Bench) -> None:
    """A turn that is repeated after a lost reply adds nothing, neither for the run that ends nor for the next run."""
    bench.given(RUNNING | queue_of(OTHER))
    bench = counting(bench)
    end = {"places": bench.places(), "ending": {"outcome": "done"}}
    first = bench.end("stop", **end)
    once = fields(bench)
    assert once == {f"ended done {A}": "1", f"started - {A}": "1"}
    assert bench.end("stop", repeated=True, **end) == first
    assert fields(bench) == once


def test_a_changed_schedule_counts_once(bench: Bench) -> None:
    """A turn that has to decide again, because the schedule was changed, adds nothing."""
    bench.given(RUNNING)
    bench = counting(bench)
    bench.end("stop", known="OLD", ending={"outcome": "done"})
    assert fields(bench) == {}


def test_a_job_that_is_running_does_not_begin(bench: Bench) -> None:
    """A job that another program queued during its run is not counted when it is put off."""
    bench.given(RUNNING | queue_of(JOB))
    bench = counting(bench)
    assert bench.take("other").jobid is None
    assert fields(bench) == {}


def test_a_wrong_type_loses_no_job(bench: Bench) -> None:
    """A P:metrics of another type stays as it is, and runs begin and end as without it. It is read as empty."""
    bench.given(RUNNING | queue_of(OTHER))
    bench = counting(bench, records=5)
    wrong(bench, ":metrics")
    assert bench.end("stop", places=bench.places(), ending={"outcome": "done"}).jobid == OTHER.encode()
    assert bench.records()[":metrics"] == "wrong"
    assert len(bench.records()[":history"]) == 1
    assert Counts.read(bench.client, bench.keys) == Counts()
    bench.store.signal("HALT")
    assert bench.state()["-control"] == "HALT"


def test_no_metrics(fleet: Fleet) -> None:
    """With `metrics: no`, no run is counted."""
    bike = fleet(metrics=False)
    bike.control("HALT")
    bike.redis.delete(Keys(bike.prefix).metrics)  # the time of the HALT
    bike.set(JOB, "CONTINUE")
    bike.work()
    assert list(bike.get_history())
    assert ":metrics" not in records(bike.redis, bike.prefix)


@pytest.mark.parametrize("metrics", ["no", 1, None])
def test_impossible_metrics(fleet: Fleet, metrics: Any) -> None:
    """`metrics` is True or False."""
    with pytest.raises(ConfigError, match="metrics"):
        fleet(metrics=metrics)


def test_flush_removes_the_counters(halted: Redbike) -> None:
    """`flush` deletes the counters with the other keys of the prefix."""
    halted.set(JOB, "NOW")
    halted.work()
    assert counts(halted).ended
    halted.flush()
    assert state_of(halted) == records(halted.redis, halted.prefix) == {}


# reading


def test_unreadable_fields_are_skipped() -> None:
    """A field that is none of ours, or whose number cannot be read, is skipped. A queue's name may hold blanks."""
    found = Counts.of(
        {
            b"started 3 a b": b"2",
            b"started - a b": b"1",
            b"started inf a b": b"4",
            b"started 24 a b": b"9",
            b"started x": b"9",
            b"ended done a b": b"7",
            b"ended done": b"9",
            b"ended  x": b"9",
            b"retried \xff": b"5",
            b"late_ms a b": b"1500",
            b"late_ms c": b"-1",
            b"started 3 c": b"1.5",
            b"ended done c": b"9" * 30,
            b"other": b"1",
            b"halted": b"soon",
        }
    )
    buckets = [0] * len(LIMITS_S)
    buckets[3], buckets[-1] = 2, 4
    assert found == Counts({"a b": 7}, {"a b": buckets}, {"a b": 1.5}, {("a b", "done"): 7}, {"\udcff": 5}, None)
    assert (LIMITS_S[0], LIMITS_S[3], LIMITS_S[-1]) == (0.001, 0.008, math.inf)
