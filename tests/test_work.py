"""D: how jobs are taken from the queues, done, and what becomes of them afterwards.

Under HALT a call of `work()` is one turn, so most tests step through the work that way.
"""

import decimal
import fractions
import itertools
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import Fleet, Recorder, eventually, raising
from state import state
from threads import Loops

from redbike import Redbike, RoundRobin, StopWork, UnsetJob
from redbike.errors import WorkerError

HOURLY = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY"
EXHAUSTED = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY;COUNT=3"


@pytest.fixture
def loops(fleet: Fleet) -> Iterator[Loops]:
    with Loops(fleet) as loops:
        yield loops


@pytest.fixture
def halted(bike: Redbike) -> Redbike:
    """The bike of the test, under HALT: each `work()` is one turn."""
    bike.control("HALT")
    return bike


def put(bike: Redbike, *jobids: str) -> None:
    """Queue jobs as any program may: by hand, so that the schedule is somebody else's matter."""
    for jobid in jobids:
        bike.redis.lpush(bike.queue_for(jobid), jobid)
        bike.redis.sadd(f"{bike.queue_for(jobid)}-members", jobid)


def queued(bike: Redbike, code: str = "A") -> list[str]:
    """What waits in `work-CODE`, the next one first."""
    return [jobid.decode() for jobid in reversed(bike.redis.lrange(f"{bike.prefix}-work-{code}", 0, -1))]


def members(bike: Redbike, code: str = "A") -> set[str]:
    return {jobid.decode() for jobid in bike.redis.smembers(f"{bike.prefix}-work-{code}-members")}


def event(bike: Redbike, jobid: str) -> str | None:
    status = bike.tell(jobid)["status"]
    return None if status is None else status.partition(":")[0]


def take(bike: Redbike) -> str | None:
    return next(bike.consumer)[0]


def server_now(bike: Redbike) -> float:
    seconds, microseconds = bike.redis.time()
    return float(seconds + microseconds / 1e6)


class Now:
    """Equal to a status with this event, of the present second or the one before it."""

    def __init__(self, bike: Redbike, event: str) -> None:
        self._bike, self._event = bike, event

    def __eq__(self, status: object) -> bool:
        second = int(server_now(self._bike))
        return status in (f"{self._event}:{second}", f"{self._event}:{second - 1}")

    __hash__ = None  # type: ignore[assignment]


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
    """D1: jobs of the last of many queues follow one another without a wait for the empty ones before it."""
    worker = Recorder(":".join("ABCDEFGH"))
    put(fleet(worker), *(f"{n}:H" for n in range(20)))
    began = time.monotonic()
    loops.work(worker)
    eventually(lambda: len(worker.done) == 20)
    assert time.monotonic() - began < 0.9, "a wait of a second must not be part of it"


# D2: taking a job


def test_taking_a_job_leaves_list_and_members_and_sets_tag_and_status(bike: Redbike) -> None:
    """D2: a job that is taken is gone from list and member set, tagged with the timeout as expiry, and `WRK`."""
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
    """D2: many workers on one queue do each job once."""
    workers = [Recorder() for _ in range(4)]
    jobids = [f"{n}:A" for n in range(200)]
    put(fleet(), *jobids)
    for worker in workers:
        loops.work(worker)
    eventually(lambda: sum(len(worker.done) for worker in workers) >= 200)
    assert sorted(jobid for worker in workers for jobid in worker.done) == sorted(jobids)


# D3: the schedule decides


def test_continue_goes_back_into_its_queue(halted: Redbike, worker: Recorder) -> None:
    """D3: a job on `CONTINUE` is queued again, behind those that wait."""
    halted.set("j:A", "CONTINUE")
    halted.set("k:A", "NOW")
    halted.work()
    assert worker.done == ["j:A"]
    assert queued(halted) == ["k:A", "j:A"]
    assert members(halted) == {"k:A", "j:A"}
    assert event(halted, "j:A") == "ENQ"
    assert not halted.is_working("j:A")


def test_a_recurrence_goes_onto_the_timeline(halted: Redbike) -> None:
    """D3: a job on a recurrence is put on the timeline at its first occurrence after now, to the second."""
    halted.set("j:A", HOURLY)
    halted.enqueue("j:A")
    halted.redis.zrem(halted.timeline_key, "j:A")
    before = server_now(halted)
    halted.work()
    after = server_now(halted)
    told = halted.tell("j:A")
    assert told["next_run"] in {(before // 3600 + 1) * 3600, (after // 3600 + 1) * 3600}
    assert told["working"] is False
    assert event(halted, "j:A") == "TML"
    assert queued(halted) == []


def test_a_recurrence_without_further_runs_stops(halted: Redbike) -> None:
    """D3: a recurrence whose last occurrence is past ends as `STP`, its text still registered."""
    halted.redis.hset(halted.schedules_key, "j:A", EXHAUSTED)
    put(halted, "j:A")
    halted.work()
    assert event(halted, "j:A") == "STP"
    assert halted.tell("j:A")["schedule"] == EXHAUSTED
    assert halted.redis.zcard(halted.timeline_key) == 0


def test_stop_gives_stp(halted: Redbike, worker: Recorder) -> None:
    """D3: a `NOW` job, whose registered schedule is `STOP`, runs once and is then `STP`."""
    halted.set("j:A", "NOW")
    assert halted.tell("j:A")["schedule"] == "STOP"
    halted.work()
    halted.work()
    assert worker.done == ["j:A"]
    assert event(halted, "j:A") == "STP"
    assert not halted.is_working("j:A")


def test_a_bad_schedule_ends_as_bad(halted: Redbike, worker: Recorder) -> None:
    """D3: a job whose schedule somebody made unreadable meanwhile is run and then `BAD`, and the worker lives on."""
    halted.set("j:A", "CONTINUE")
    halted.redis.hset(halted.schedules_key, "j:A", "every now and then")
    halted.work()
    assert worker.done == ["j:A"]
    assert event(halted, "j:A") == "BAD"
    assert queued(halted) == []
    assert halted.redis.zcard(halted.timeline_key) == 0


def test_a_job_without_schedule_leaves_no_trace(halted: Redbike, worker: Recorder, prefix: str) -> None:
    """D3: a job that was unset during its run leaves nothing of itself in Redis."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: halted.unset("j:A")
    halted.work()
    assert worker.done == ["j:A"]
    left = {key for key in halted.redis.scan_iter(match=f"{prefix}[-:]*") if b":bell:" not in key}
    assert left == {halted.control_key.encode()}


@pytest.mark.parametrize(
    ("text", "ends_as"), [("CONTINUE", "ENQ"), ("STOP", "STP"), (HOURLY, "TML"), ("AT:4000000000", "TML")]
)
def test_the_schedule_as_it_stands_at_the_end_decides(
    halted: Redbike, worker: Recorder, text: str, ends_as: str
) -> None:
    """D3: a schedule set during the run decides what comes after it, not the one that began it."""
    halted.set("j:A", "CONTINUE" if text != "CONTINUE" else "NOW")
    worker.acts["j:A"] = lambda: halted.set("j:A", text)
    halted.work()
    assert event(halted, "j:A") == ends_as
    if ends_as == "ENQ":
        assert queued(halted) == ["j:A"]
    else:
        assert queued(halted) == []
    assert (halted.tell("j:A")["next_run"] is not None) == (ends_as == "TML")


def test_a_schedule_written_by_hand_during_the_run_decides(halted: Redbike, worker: Recorder) -> None:
    """D3: that holds as well for a schedule that another program wrote straight into the hash."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: halted.redis.hset(halted.schedules_key, "j:A", "STOP")
    halted.work()
    assert event(halted, "j:A") == "STP"
    assert queued(halted) == []


def test_a_job_set_for_later_while_it_is_queued_is_on_the_timeline_after_its_run(halted: Redbike) -> None:
    """D3: `AT` set while a run waits in the queue: that run happens, and then the status says `TML` again."""
    halted.set("j:A", "NOW")
    halted.set("j:A", "AT:4000000000")
    halted.work()
    assert halted.tell("j:A")["next_run"] == 4000000000
    assert event(halted, "j:A") == "TML"


def test_a_job_enqueued_by_hand_during_its_run_runs_again(fleet: Fleet, loops: Loops) -> None:
    """D3: `enqueue` during the run of a job on a recurrence is not lost: the job runs again soon after."""
    worker = Recorder()
    bike = fleet(worker)
    bike.set("j:A", HOURLY)
    worker.acts["j:A"] = lambda: bike.enqueue("j:A") if len(worker.done) == 1 else None
    bike.enqueue("j:A")
    loops.work(worker)
    loops.dispatch(worker)
    eventually(lambda: len(worker.done) == 2)
    eventually(lambda: event(bike, "j:A") == "TML" and (bike.tell("j:A")["next_run"] or 0) % 3600 == 0)


# D4: backoff


@pytest.mark.parametrize("backoff", [30, 2.5, 0.25, decimal.Decimal("7.5"), fractions.Fraction(7, 2)])
def test_a_number_returned_on_continue_is_a_backoff(halted: Redbike, worker: Recorder, backoff: float) -> None:
    """D4: a job on `CONTINUE` that returns a number of seconds enters the timeline that much later."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: backoff
    before = server_now(halted)
    halted.work()
    after = server_now(halted)
    next_run = halted.tell("j:A")["next_run"]
    assert next_run is not None
    assert before + float(backoff) - 0.01 <= next_run <= after + float(backoff) + 0.01
    assert event(halted, "j:A") == "TML"
    assert queued(halted) == []


@pytest.mark.parametrize("nothing", [None, 0, 0.0, -1, -2.5])
def test_no_number_above_zero_is_no_backoff(
    halted: Redbike, worker: Recorder, nothing: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    """D4: None, zero and less queue the job again at once, without a word."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: nothing
    halted.work()
    assert queued(halted) == ["j:A"]
    assert caplog.messages == []


@pytest.mark.parametrize("odd", ["5", "soon", True, False, [5], {"s": 5}, b"5", math.nan, math.inf, -math.inf, 5j])
def test_what_is_no_number_is_ignored_with_a_warning(
    halted: Redbike, worker: Recorder, odd: object, caplog: pytest.LogCaptureFixture
) -> None:
    """D4: a returned value that is neither a number nor None is ignored with one warning that names the job."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: odd
    halted.work()
    assert queued(halted) == ["j:A"]
    assert event(halted, "j:A") == "ENQ"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'j:A'" in record.message


@pytest.mark.parametrize("returned", [30, "soon", True])
@pytest.mark.parametrize(("text", "ends_as"), [(HOURLY, "TML"), ("NOW", "STP")])
def test_other_schedules_ignore_the_returned_value(
    halted: Redbike, worker: Recorder, text: str, ends_as: str, returned: object, caplog: pytest.LogCaptureFixture
) -> None:
    """D4: on any other schedule the returned value means nothing and is no matter for a warning."""
    halted.set("j:A", text)
    worker.acts["j:A"] = lambda: returned
    if text != "NOW":
        halted.redis.zrem(halted.timeline_key, "j:A")
        halted.enqueue("j:A")
    halted.work()
    assert event(halted, "j:A") == ends_as
    assert (halted.tell("j:A")["next_run"] or 0) % 3600 == 0
    assert caplog.messages == []


def test_a_backoff_goes_with_the_schedule_at_the_end(halted: Redbike, worker: Recorder) -> None:
    """D4: a number returned by a job that was set to `STOP` during its run is no backoff."""

    def act() -> int:
        halted.set("j:A", "STOP")
        return 30

    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = act
    halted.work()
    assert event(halted, "j:A") == "STP"
    assert halted.tell("j:A")["next_run"] is None


def test_the_run_after_a_backoff_comes(fleet: Fleet, loops: Loops) -> None:
    """D4: after its backoff the job runs again, and not before."""
    worker = Recorder()
    began: list[float] = []

    def act() -> float:
        began.append(time.monotonic())
        return 0.4

    worker.acts["j:A"] = act
    fleet().set("j:A", "CONTINUE")
    loops.work(worker)
    loops.dispatch(worker)
    eventually(lambda: len(began) >= 3)
    assert all(later - earlier >= 0.39 for earlier, later in itertools.pairwise(began))


# D5: how a job ends itself


@pytest.mark.parametrize("text", ["CONTINUE", HOURLY])
def test_stopwork_stops_the_job(halted: Redbike, worker: Recorder, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """D5: `StopWork` makes the schedule `STOP` and the status `STP`, and is nothing to log an error for."""
    halted.set("j:A", text)
    halted.redis.zrem(halted.timeline_key, "j:A")
    halted.enqueue("j:A")
    worker.acts["j:A"] = raising(StopWork())
    halted.work()
    assert halted.tell("j:A") == {
        "status": Now(halted, "STP"),
        "next_run": None,
        "schedule": "STOP",
        "working": False,
    }
    assert queued(halted) == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_stopwork_drops_what_was_planned_during_the_run(halted: Redbike, worker: Recorder) -> None:
    """D5: `StopWork` also takes a run off the timeline that a recurrence set during the run had put there."""

    def act() -> None:
        halted.set("j:A", HOURLY)
        raise StopWork

    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = act
    halted.work()
    assert halted.tell("j:A")["schedule"] == "STOP"
    assert halted.tell("j:A")["next_run"] is None
    assert event(halted, "j:A") == "STP"


def test_unsetjob_forgets_the_job(halted: Redbike, worker: Recorder, prefix: str) -> None:
    """D5: `UnsetJob` leaves nothing of the job: no schedule, status, tag, timeline or queue entry."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = raising(UnsetJob("enough"))
    halted.work()
    assert halted.tell("j:A") == {"status": None, "next_run": None, "schedule": None, "working": False}
    left = {key for key in halted.redis.scan_iter(match=f"{prefix}[-:]*") if b":bell:" not in key}
    assert left == {halted.control_key.encode()}


class OddError(Exception):
    pass


@pytest.mark.parametrize("error", [OddError("odd"), RuntimeError("bang"), SystemExit(3), NotImplementedError("n")])
def test_any_other_exception_is_die(
    halted: Redbike, worker: Recorder, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """D5: any other exception is logged with its traceback; status `DIE`, schedule as it is, not rescheduled."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = raising(error)
    halted.work()
    assert event(halted, "j:A") == "DIE"
    assert halted.tell("j:A") == {
        "status": halted.tell("j:A")["status"],
        "next_run": None,
        "schedule": "CONTINUE",
        "working": False,
    }
    assert queued(halted) == []
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "'j:A'" in record.message
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_the_worker_goes_on_after_a_died_job(fleet: Fleet, loops: Loops) -> None:
    """D5: a job that dies takes nobody with it, and can be set again."""
    worker = Recorder()
    worker.acts["bad:A"] = raising(ValueError("no"))
    bike = fleet(worker)
    bike.set("bad:A", "CONTINUE")
    bike.set("good:A", "NOW")
    loops.work(worker)
    eventually(lambda: worker.done == ["bad:A", "good:A"])
    eventually(lambda: event(bike, "bad:A") == "DIE")
    bike.set("bad:A", "NOW")
    eventually(lambda: worker.done == ["bad:A", "good:A", "bad:A"])


def test_an_interruption_from_the_keyboard_goes_out(halted: Redbike, worker: Recorder) -> None:
    """D5: KeyboardInterrupt that a signal sent into a job ends the call, and the job is `DIE` and not at work."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        halted.work()
    assert event(halted, "j:A") == "DIE"
    assert not halted.is_working("j:A")


# D6: a run that is late


def lose_tag(bike: Redbike) -> None:
    """Wait until the run has outlived its timeout."""
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
    """D6: a run whose tag is gone or another's when it ends, however it ends, changes nothing; one warning says so."""
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
    """D6: a run that takes longer than its timeout is not interrupted, but its end counts no more."""
    worker.timeouts[f"{halted.prefix}-work-A"] = 0.05
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: eventually(lambda: not halted.is_working("j:A"))
    halted.work()
    assert worker.done == ["j:A"]
    assert event(halted, "j:A") == "WRK"
    assert queued(halted) == []
    assert len(caplog.records) == 1


def test_of_two_runs_the_later_one_counts(fleet: Fleet) -> None:
    """D6: when a timed-out job was run again since, its first run's end leaves the second run alone."""
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
    """D7: `timeout()` is given the full key of the queue, and what it returns is the run tag's expiry."""
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
    """D7: of two queues, each gives its jobs its own timeout, and None means the default."""
    worker = Recorder("A:B")
    bike = fleet(worker, default_timeout=33)
    worker.timeouts[f"{bike.prefix}-work-B"] = 99
    bike.set("j:A", "CONTINUE")
    bike.set("j:B", "CONTINUE")
    assert [take(bike), take(bike)] == ["j:A", "j:B"]
    assert 32 <= bike.redis.ttl(f"{bike.prefix}-work-A-j:A") <= 33
    assert 98 <= bike.redis.ttl(f"{bike.prefix}-work-B-j:B") <= 99


def test_the_default_timeout_is_ten_seconds(bike: Redbike) -> None:
    """D7: without a word from anybody a run may take ten seconds."""
    assert bike.default_timeout == 10
    bike.set("j:A", "CONTINUE")
    take(bike)
    assert 9_000 < bike.redis.pttl(f"{bike.prefix}-work-A-j:A") <= 10_000


@pytest.mark.parametrize("given", [0, -1, "ten", True, math.nan, math.inf, 1e12])
def test_a_timeout_that_makes_no_sense_is_refused(bike: Redbike, worker: Recorder, given: object) -> None:
    """D7: a worker's timeout that is no number of seconds is an error that names it, and no job is taken."""
    worker.timeouts[f"{bike.prefix}-work-A"] = given  # type: ignore[assignment]
    bike.set("j:A", "CONTINUE")
    with pytest.raises(WorkerError, match=r"Recorder: timeout\('.*-work-A'\) gave .*number of seconds"):
        bike.work()
    assert queued(bike) == ["j:A"]


# D8: turns and the place in the order


def test_under_halt_a_call_is_exactly_one_turn(halted: Redbike, worker: Recorder) -> None:
    """D8: `work()` under `HALT` does one job, however many wait."""
    put(halted, "1:A", "2:A", "3:A")
    halted.work()
    assert worker.done == ["1:A"]
    halted.work()
    assert worker.done == ["1:A", "2:A"]
    assert queued(halted) == ["3:A"]


def test_the_first_turn_looks_at_one_place(fleet: Fleet) -> None:
    """D8: under `HALT` a call whose place of the order is empty does nothing, though other queues have work."""
    worker = Recorder("A:B")
    bike = fleet(worker)
    bike.control("HALT")
    put(bike, "j:B")
    bike.work()
    assert worker.done == []
    bike.work()
    assert worker.done == ["j:B"]


def test_an_empty_turn_under_halt_does_not_wait(halted: Redbike) -> None:
    """D8: stepping over an empty queue takes no time to speak of, so a test can do it a thousand times."""
    halted.work()
    began = time.monotonic()
    for _ in range(5):
        halted.work()
    assert time.monotonic() - began < 0.9


def test_the_place_is_kept_between_calls(fleet: Fleet) -> None:
    """D8: calls under `HALT` walk on through the order, as one long call would."""
    worker = Recorder("A:A:B")
    bike = fleet(worker)
    bike.control("HALT")
    put(bike, *(f"{n}:A" for n in range(4)), "0:B", "1:B")
    for _ in range(6):
        bike.work()
    assert "".join(jobid[-1] for jobid in worker.done) == "AABAAB"


def test_the_place_is_shared_with_the_consumer(fleet: Fleet) -> None:
    """D8: `consumer` and `work()` of one object walk through one order."""
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
    """D8: two objects begin at the start of the order, whatever the other did."""
    first, second = fleet(Recorder("A:B")), fleet(Recorder("A:B"))
    put(first, "1:A", "2:A", "1:B")
    assert take(first) == "1:A"
    assert take(second) == "2:A"
    assert take(first) == "1:B"


def test_later_turns_look_at_every_place_and_halt_ends_the_call(fleet: Fleet) -> None:
    """D8: after the first turn a call looks on until it finds work, and takes nothing once `HALT` is set."""
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
    assert keys - {f"{halted.prefix}:bell:work-A"} == {f"{halted.prefix}-{name}" for name in names}
    assert worker.done == ["j:A"]


# D9: the consumer


def test_each_next_of_the_consumer_looks_at_one_place(fleet: Fleet) -> None:
    """D9: each `next()` gives job and tag of one place, or None and a tag where that queue was empty."""
    bike = fleet(Recorder("A:B"))
    put(bike, "1:B", "2:B")
    turns = [next(bike.consumer) for _ in range(5)]
    assert [jobid for jobid, _ in turns] == [None, "1:B", None, "2:B", None]
    assert all(isinstance(tag, str) and tag for _, tag in turns)
    assert bike.redis.get(f"{bike.prefix}-work-B-1:B") == turns[1][1].encode()


def test_the_consumer_heeds_no_halt_and_calls_no_worker(halted: Redbike, worker: Recorder) -> None:
    """D9: a turn of the consumer takes a job also under `HALT`, and leaves doing it to the caller."""
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
    """D10: the queue of a job is what follows the last colon of its id."""
    assert RoundRobin("A:B").queue_for(jobid) == name


def test_roundrobin_must_be_overridden() -> None:
    """D10: `work()` of the base class is NotImplementedError, `timeout()` gives None."""
    with pytest.raises(NotImplementedError):
        RoundRobin("A").work("j:A")
    assert RoundRobin("A").timeout("redbike-work-A") is None


def test_a_bare_roundrobin_makes_jobs_die(fleet: Fleet) -> None:
    """D10: a worker without a `work()` of its own has its jobs end as `DIE`, and goes on."""
    bike = fleet(RoundRobin("A"))
    bike.control("HALT")
    bike.set("j:A", "CONTINUE")
    bike.work()
    assert event(bike, "j:A") == "DIE"


class OddQueues:
    """A worker that owes nothing to RoundRobin: the first letter of a job id names its queue."""

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
    """D10: a worker need not be a RoundRobin: its names go into the keys as they are."""
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
    """D10: no queue at all, an empty name, or one that Redbike needs itself is an error that names the worker."""
    worker.queue_names = lambda: names  # type: ignore[method-assign]
    with pytest.raises(WorkerError, match="Recorder: queue_names"):
        bike.work()


def test_job_ids_reach_the_worker_as_text(halted: Redbike, worker: Recorder) -> None:
    """D10: `work()` is called with the id as it was set, whatever letters it has."""
    for jobid in ("ÄÖ ü €:A", "{a}*?[b]:A", "日本:A"):
        halted.set(jobid, "NOW")
        halted.work()
        assert worker.done.pop() == jobid
        assert event(halted, jobid) == "STP"
