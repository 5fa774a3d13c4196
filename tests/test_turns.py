"""D8 to D10: single turns of a worker, the consumer, and what a worker object has."""

import time

import pytest
from conftest import Fleet, Recorder
from helpers import event, put, queued, take

from redbike import Redbike, RoundRobin
from redbike.errors import WorkerError

# D8: turns and the place in the order


def test_under_halt_a_call_is_exactly_one_turn(halted: Redbike, worker: Recorder) -> None:
    """D8: `work()` under `HALT` runs one job, however many wait."""
    put(halted, "1:A", "2:A", "3:A")
    halted.work()
    assert worker.done == ["1:A"]
    halted.work()
    assert worker.done == ["1:A", "2:A"]
    assert queued(halted) == ["3:A"]


def test_the_first_turn_looks_at_one_place(fleet: Fleet) -> None:
    """D8: under `HALT`, a call whose place in the order is empty does nothing, even if other queues have jobs."""
    worker = Recorder("A:B")
    bike = fleet(worker)
    bike.control("HALT")
    put(bike, "j:B")
    bike.work()
    assert worker.done == []
    bike.work()
    assert worker.done == ["j:B"]


def test_an_empty_turn_under_halt_does_not_wait(halted: Redbike) -> None:
    """D8: passing an empty queue takes almost no time, so that a test can do it a thousand times."""
    halted.work()
    began = time.monotonic()
    for _ in range(5):
        halted.work()
    assert time.monotonic() - began < 0.9


def test_the_place_is_kept_between_calls(fleet: Fleet) -> None:
    """D8: calls under `HALT` go on through the order like one long call."""
    worker = Recorder("A:A:B")
    bike = fleet(worker)
    bike.control("HALT")
    put(bike, *(f"{n}:A" for n in range(4)), "0:B", "1:B")
    for _ in range(6):
        bike.work()
    assert "".join(jobid[-1] for jobid in worker.done) == "AABAAB"


def test_the_place_is_shared_with_the_consumer(fleet: Fleet) -> None:
    """D8: `consumer` and `work()` of one object go through one order."""
    worker = Recorder("A:B")
    bike = fleet(worker)
    bike.control("HALT")
    put(bike, "1:A", "2:A", "1:B", "2:B")
    assert take(bike) == "1:A"
    bike.work()
    assert take(bike) == "2:A"
    bike.work()
    assert worker.done == ["1:B", "2:B"]


def test_each_object_has_its_own_place(fleet: Fleet) -> None:
    """D8: every object begins at the start of the order, whatever other objects did."""
    first, second = fleet(Recorder("A:B")), fleet(Recorder("A:B"))
    put(first, "1:A", "2:A", "1:B")
    assert take(first) == "1:A"
    assert take(second) == "2:A"
    assert take(first) == "1:B"


def test_later_turns_look_at_every_place_and_halt_ends_the_call(fleet: Fleet) -> None:
    """D8: after its first turn a call searches every queue until it finds a job, and takes none once `HALT` is set."""
    worker = Recorder("A:B:C")
    bike = fleet(worker)
    put(bike, "1:A", "1:C", "2:C", "3:C")
    worker.acts["2:C"] = lambda: bike.control("HALT")
    bike.work()
    assert worker.done == ["1:A", "1:C", "2:C"]
    assert queued(bike, "C") == ["3:C"]


def test_a_halt_set_during_the_first_job_is_heeded(halted: Redbike, worker: Recorder) -> None:
    """D8: a halted call leaves no tag, no memo and nothing half done."""
    halted.set("j:A", "CONTINUE")
    halted.work()
    keys = {key.decode() for key in halted.redis.scan_iter(match=f"{halted.prefix}[-:]*")}
    names = ("schedules", "statuses", "control", "work-A", "work-A-members")
    records = {f"{halted.prefix}{name}" for name in (":bell:work-A", ":history", ":runs", ":metrics")}
    assert keys - records == {f"{halted.prefix}-{name}" for name in names}
    assert worker.done == ["j:A"]


# D9: the consumer


def test_each_next_of_the_consumer_looks_at_one_place(fleet: Fleet) -> None:
    """D9: each `next()` returns job and tag of one place, or None and a tag if that queue was empty."""
    bike = fleet(Recorder("A:B"))
    put(bike, "1:B", "2:B")
    turns = [next(bike.consumer) for _ in range(5)]
    assert [jobid for jobid, _ in turns] == [None, "1:B", None, "2:B", None]
    assert all(isinstance(tag, str) and tag for _, tag in turns)
    assert bike.redis.get(f"{bike.prefix}-work-B-1:B") == turns[1][1].encode()


def test_the_consumer_heeds_no_halt_and_calls_no_worker(halted: Redbike, worker: Recorder) -> None:
    """D9: the consumer takes a job also under `HALT`, and its caller has to run it."""
    put(halted, "j:A")
    assert take(halted) == "j:A"
    assert worker.done == []


def test_the_consumer_is_an_iterator(bike: Redbike) -> None:
    """D9: the consumer can be iterated over, without end."""
    put(bike, "j:A")
    assert iter(bike.consumer) is bike.consumer
    for jobid, _tag in bike.consumer:
        if jobid is None:
            break
        assert jobid == "j:A"
    assert take(bike) is None


# D10: workers


@pytest.mark.parametrize(
    ("initstring", "names"),
    [
        ("A", ["work-A"]),
        ("A:A:B", ["work-A", "work-A", "work-B"]),
        ("fast:slow", ["work-fast", "work-slow"]),
        ("", ["work-"]),
        ("ä:b c", ["work-ä", "work-b c"]),
    ],
)
def test_roundrobin_takes_its_order_from_the_initstring(initstring: str, names: list[str]) -> None:
    """D10: `RoundRobin(initstring)` names queues `work-CODE` in the order of the initstring."""
    assert RoundRobin(initstring).queue_names() == names


@pytest.mark.parametrize(
    ("jobid", "name"),
    [("j:A", "work-A"), ("a:b:C", "work-C"), ("plain", "work-plain"), ("x:", "work-"), (":A", "work-A")],
)
def test_roundrobin_reads_the_queue_from_the_job_id(jobid: str, name: str) -> None:
    """D10: the queue of a job is the text after the last colon of its id."""
    assert RoundRobin("A:B").queue_for(jobid) == name


def test_roundrobin_must_be_overridden() -> None:
    """D10: `work()` of the base class raises NotImplementedError, and `timeout()` returns None."""
    with pytest.raises(NotImplementedError):
        RoundRobin("A").work("j:A")
    assert RoundRobin("A").timeout("redbike-work-A") is None


def test_a_bare_roundrobin_makes_jobs_die(fleet: Fleet) -> None:
    """D10: the jobs of a worker without `work()` end as `DIE`, and the worker goes on."""
    bike = fleet(RoundRobin("A"))
    bike.control("HALT")
    bike.set("j:A", "CONTINUE")
    bike.work()
    assert event(bike, "j:A") == "DIE"


class OddQueues:
    """A worker that is not a RoundRobin: the first letter of a job id names its queue."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def queue_for(self, jobid: str) -> str:
        return f"line.{jobid[0]}"

    def queue_names(self) -> list[str]:
        return ["line.x", "line.y"]

    def work(self, jobid: str) -> None:
        self.done.append(jobid)

    def timeout(self, queue_name: str) -> int:
        return 5 if queue_name.endswith("line.x") else 6


def test_any_object_with_the_four_methods_is_a_worker(fleet: Fleet) -> None:
    """D10: a worker need not be a RoundRobin, and its queue names become part of the keys unchanged."""
    worker = OddQueues()
    bike = fleet(worker)  # type: ignore[arg-type]
    bike.control("HALT")
    bike.set("x1", "CONTINUE")
    bike.set("y1", "NOW")
    assert bike.redis.lrange(f"{bike.prefix}-line.x", 0, -1) == [b"x1"]
    assert bike.queue_for("y1") == f"{bike.prefix}-line.y"
    assert bike.queue_names() == [f"{bike.prefix}-line.x", f"{bike.prefix}-line.y"]
    bike.work()
    bike.work()
    assert worker.done == ["x1", "y1"]


@pytest.mark.parametrize("names", [[], [""], ["schedules"], [3], [None]])
def test_queue_names_that_make_no_sense_are_refused(bike: Redbike, worker: Recorder, names: list[str]) -> None:
    """D10: a worker without queues, with an empty name or with a name that Redbike needs gives an error that names the
    worker.
    """
    worker.queue_names = lambda: names  # type: ignore[method-assign]
    with pytest.raises(WorkerError, match="Recorder: queue_names"):
        bike.work()


def test_job_ids_reach_the_worker_as_text(halted: Redbike, worker: Recorder) -> None:
    """D10: `work()` receives the id as it was set, with any characters."""
    for jobid in ("ÄÖ ü €:A", "{a}*?[b]:A", "日本:A"):
        halted.set(jobid, "NOW")
        halted.work()
        assert worker.done.pop() == jobid
        assert event(halted, jobid) == "STP"
