"""D3 to D5: how a run ends, and what that means for the job."""

import decimal
import fractions
import itertools
import logging
import math
import signal
import time

import pytest
from conftest import Fleet, Recorder
from helpers import EXHAUSTED, HOURLY, Now, event, members, put, queued, raising, server_now
from nodes import eventually
from threads import Loops

from redbike import Redbike, StopWork, UnsetJob

# D3: the schedule decides


def test_continue_goes_back_into_its_queue(halted: Redbike, worker: Recorder) -> None:
    """D3: a job on `CONTINUE` is queued again, behind the waiting jobs."""
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
    """D3: a recurrence whose last occurrence is past ends as `STP`, and its text stays registered."""
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
    """D3: if another program made the schedule unreadable, the job runs and is then `BAD`, and the worker goes on."""
    halted.set("j:A", "CONTINUE")
    halted.redis.hset(halted.schedules_key, "j:A", "every now and then")
    halted.work()
    assert worker.done == ["j:A"]
    assert event(halted, "j:A") == "BAD"
    assert queued(halted) == []
    assert halted.redis.zcard(halted.timeline_key) == 0


def test_a_job_without_schedule_leaves_no_trace(halted: Redbike, worker: Recorder, prefix: str) -> None:
    """D3: a job that was unset during its run leaves nothing in Redis."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: halted.unset("j:A")
    halted.work()
    assert worker.done == ["j:A"]
    left = {key for key in halted.redis.scan_iter(match=f"{prefix}[-:]*") if b":bell:" not in key}
    assert left == {halted.control_key.encode(), f"{prefix}:history".encode(), f"{prefix}:metrics".encode()}


@pytest.mark.parametrize(
    ("text", "ends_as"), [("CONTINUE", "ENQ"), ("STOP", "STP"), (HOURLY, "TML"), ("AT:4000000000", "TML")]
)
def test_the_schedule_as_it_stands_at_the_end_decides(
    halted: Redbike, worker: Recorder, text: str, ends_as: str
) -> None:
    """D3: a schedule set during the run decides the next run, not the schedule at its start."""
    halted.set("j:A", "CONTINUE" if text != "CONTINUE" else "NOW")
    worker.acts["j:A"] = lambda: halted.set("j:A", text)
    halted.work()
    assert event(halted, "j:A") == ends_as
    if ends_as == "ENQ":
        assert queued(halted) == ["j:A"]
    else:
        assert queued(halted) == []
    assert (halted.tell("j:A")["next_run"] is not None) == (ends_as == "TML")


def test_a_schedule_of_another_program_during_the_run_decides(halted: Redbike, worker: Recorder) -> None:
    """D3: the same holds for a schedule that another program wrote into the hash."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: halted.redis.hset(halted.schedules_key, "j:A", "STOP")
    halted.work()
    assert event(halted, "j:A") == "STP"
    assert queued(halted) == []


def test_a_job_set_for_later_while_it_is_queued_is_on_the_timeline_after_its_run(halted: Redbike) -> None:
    """D3: if `AT` is set while a run waits in the queue, that run happens, and then the status is `TML` again."""
    halted.set("j:A", "NOW")
    halted.set("j:A", "AT:4000000000")
    halted.work()
    assert halted.tell("j:A")["next_run"] == 4000000000
    assert event(halted, "j:A") == "TML"


def test_a_job_enqueued_during_its_run_runs_again(fleet: Fleet, loops: Loops) -> None:
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
    """D4: a job on `CONTINUE` that returns a number of seconds is put on the timeline that much later."""
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
    """D4: None, zero and negative numbers queue the job again at once, without a log line."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: nothing
    halted.work()
    assert queued(halted) == ["j:A"]
    assert caplog.messages == []


@pytest.mark.parametrize("odd", ["5", "soon", True, False, [5], {"s": 5}, b"5", math.nan, math.inf, -math.inf, 5j])
def test_what_is_no_number_is_ignored_with_a_warning(
    halted: Redbike, worker: Recorder, odd: object, caplog: pytest.LogCaptureFixture
) -> None:
    """D4: a returned value that is neither a number nor None is ignored, with one warning that names the job."""
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
    """D4: on any other schedule the returned value means nothing and gives no warning."""
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
    """D5: `StopWork` makes the schedule `STOP` and the status `STP`, and logs no error."""
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
    """D5: `StopWork` also removes a run from the timeline that a recurrence set during the run."""

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
    assert left == {halted.control_key.encode(), f"{prefix}:history".encode(), f"{prefix}:metrics".encode()}


class OddError(Exception):
    pass


@pytest.mark.parametrize("error", [OddError("odd"), RuntimeError("bang"), SystemExit(3), NotImplementedError("n")])
def test_any_other_exception_is_die(
    halted: Redbike, worker: Recorder, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """D5: any other exception is logged with its traceback; the status is `DIE`, the schedule stays, and no run is
    planned.
    """
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
    """D5: a job that dies stops no worker, and can be set again."""
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
    """D5: a KeyboardInterrupt during a job ends `work()`, and the job is `DIE` and not running."""
    halted.set("j:A", "CONTINUE")
    worker.acts["j:A"] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        halted.work()
    assert event(halted, "j:A") == "DIE"
    assert not halted.is_working("j:A")
