"""on-error: what happens to a job whose run raises.

Under HALT a call of `work()` is one turn and a call of `dispatch()` is one pass. The tests go on in such steps.
"""

import logging
from typing import Any

import pytest
from conftest import Fleet, Recorder
from failures import JOB, MEANWHILE, SOON_S, check_meanwhile, failing, is_index_empty, step
from helpers import EXHAUSTED, FUTURE, HOUR_S, HOURLY, dispatch_at, event, raising, server_now, state_of, timeline
from nodes import eventually
from threads import Loops

from redbike import Redbike, UnsetJob
from redbike.errors import ConfigError


def next_hour(bike: Redbike) -> float:
    return float((server_now(bike) // HOUR_S + 1) * HOUR_S)


# A run that raises


@pytest.mark.parametrize("schedule", ["CONTINUE", HOURLY, "NOW"])
def test_a_failed_run_drops_the_job(fleet: Fleet, schedule: str) -> None:
    """D5: by default, a job whose run raised is `DIE` and in no place; it keeps its schedule."""
    bike = failing(fleet)
    bike.set(JOB, schedule)
    step(bike)
    assert event(bike, JOB) == "DIE"
    found = state_of(bike)
    assert set(found) == {"-schedules", "-statuses", "-control", ":bell:work-A"}
    assert found["-schedules"] == {JOB: "STOP" if schedule == "NOW" else schedule}


def test_a_failed_run_reschedules_continue(fleet: Fleet) -> None:
    """on-error: reschedule: a job on `CONTINUE` that raises runs again only after a second."""
    bike = failing(fleet, on_error="reschedule")
    bike.set(JOB, "CONTINUE")
    before = server_now(bike)
    bike.work()
    assert event(bike, JOB) == "TML"
    assert before + 1 <= timeline(bike)[JOB] <= server_now(bike) + 1
    assert ":retries" not in state_of(bike)


def test_a_failed_run_reschedules_a_recurrence(fleet: Fleet) -> None:
    """on-error: reschedule: a recurrence goes on with its next occurrence."""
    bike = failing(fleet, on_error="reschedule")
    bike.set(JOB, HOURLY)
    expected = next_hour(bike)
    step(bike)
    assert timeline(bike)[JOB] in (expected, next_hour(bike))


@pytest.mark.parametrize("schedule", ["NOW", "AT:1"])
def test_a_failed_one_off_has_nothing_to_follow(fleet: Fleet, schedule: str) -> None:
    """on-error: reschedule: a one-off that raised is `DIE` and has no further run."""
    bike = failing(fleet, on_error="reschedule")
    bike.set(JOB, schedule)
    step(bike)
    assert event(bike, JOB) == "DIE"
    assert not timeline(bike)


@pytest.mark.parametrize("schedule", ["NOW", "AT:1"])
def test_a_failed_one_off_is_tried_again(fleet: Fleet, schedule: str) -> None:
    """on-error: retry: a one-off that always raises runs once and `retries` times more, and is then `DIE`."""
    worker = Recorder()
    bike = failing(fleet, worker, on_error="retry", retries=2)
    bike.set(JOB, schedule)
    seen = []
    for _ in range(5):
        step(bike)
        seen.append((len(worker.done), event(bike, JOB), state_of(bike).get(":retries")))
    assert seen == [(1, "TML", {JOB: "1"}), (2, "TML", {JOB: "2"}), *[(3, "DIE", None)] * 3]
    assert bike.tell(JOB) | {"status": ""} == {"status": "", "next_run": None, "schedule": "STOP", "working": False}


@pytest.mark.parametrize("schedule", ["CONTINUE", HOURLY])
def test_when_the_tries_are_used_up_the_schedule_decides(fleet: Fleet, schedule: str) -> None:
    """on-error: retry: after the last try the job goes on by its schedule, and the count of its tries is removed."""
    worker = Recorder()
    bike = failing(fleet, worker, on_error="retry", retries=2)
    bike.set(JOB, schedule)
    for _ in range(2):
        step(bike)
        assert timeline(bike)[JOB] < server_now(bike) + 10
    step(bike)
    assert len(worker.done) == 3
    assert ":retries" not in state_of(bike)
    due_at = timeline(bike)[JOB]
    if schedule == HOURLY:
        assert due_at % HOUR_S == 0
    else:
        assert 0.5 < due_at - server_now(bike) <= 1
    step(bike)
    assert state_of(bike)[":retries"] == {JOB: "1"}, "the next failure counts from 1 again"


def test_a_recurrence_without_further_runs_is_tried_again(fleet: Fleet) -> None:
    """on-error: retry: the last occurrence of a recurrence is also tried again, and is then `DIE`."""
    bike = failing(fleet, on_error="retry", retries=1)
    bike.set(JOB, EXHAUSTED, after=1_577_836_800)
    step(bike)
    assert state_of(bike)[":retries"] == {JOB: "1"}
    step(bike)
    assert (event(bike, JOB), timeline(bike)) == ("DIE", {})


def test_success_forgets_the_tries(fleet: Fleet) -> None:
    """on-error: retry: a successful try removes the count, and the job goes on by its schedule."""
    worker = Recorder()
    bike = failing(fleet, worker, on_error="retry", retries=2)
    bike.set(JOB, HOURLY)
    step(bike)
    step(bike)
    assert state_of(bike)[":retries"] == {JOB: "2"}
    del worker.acts[JOB]
    step(bike)
    assert ":retries" not in state_of(bike)
    assert timeline(bike)[JOB] % HOUR_S == 0
    worker.acts[JOB] = raising(ValueError())
    step(bike)
    assert state_of(bike)[":retries"] == {JOB: "1"}


@pytest.mark.parametrize("end", ["StopWork", "UnsetJob"])
def test_a_job_that_ends_itself_forgets_the_tries(fleet: Fleet, end: str) -> None:
    """on-error: retry: `StopWork` and `UnsetJob` in a try leave no count behind."""
    from redbike import StopWork

    worker = Recorder()
    bike = failing(fleet, worker, on_error="retry")
    bike.set(JOB, "CONTINUE")
    step(bike)
    worker.acts[JOB] = raising(StopWork() if end == "StopWork" else UnsetJob())
    step(bike)
    assert ":retries" not in state_of(bike)
    assert event(bike, JOB) == ("STP" if end == "StopWork" else None)


def test_delays_grow_and_are_bounded(fleet: Fleet) -> None:
    """on-error: retry: the delays are 1, 2, 4 … seconds, at most five minutes, each varied by up to half."""
    bike = failing(fleet, on_error="retry", retries=100)
    bike.set(JOB, "NOW")
    for count in range(12):
        dispatch_at(bike, FUTURE * 2)
        before = server_now(bike)
        bike.work()
        due_at = timeline(bike)[JOB]
        assert due_at >= before + min(300, 0.5 * 2**count) - 0.001, count
        assert due_at <= server_now(bike) + min(300, 1.5 * 2**count) + 0.001, count


def test_delays_are_jittered(fleet: Fleet) -> None:
    """on-error: retry: jobs that fail together are not tried again together."""
    worker = Recorder()
    jobids = [f"{n}:A" for n in range(20)]
    worker.acts |= dict.fromkeys(jobids, raising(ValueError()))
    bike = fleet(worker, on_error="retry")
    bike.control("HALT")
    for jobid in jobids:
        bike.set(jobid, "NOW")
        bike.work()
    due = timeline(bike).values()
    assert len({round(due_at, 2) for due_at in due}) > 10
    assert max(due) - min(due) > 0.3


def test_a_retry_is_run_by_dispatcher_and_worker(fleet: Fleet, loops: Loops) -> None:
    """on-error: retry: with running loops, a job that fails once runs again within its delay, and only once."""
    worker, failures = Recorder(), iter([ValueError("once")])

    def act() -> None:
        for failure in failures:
            raise failure

    worker.acts[JOB] = act
    loops.work(worker, on_error="retry")
    loops.dispatch(on_error="retry")
    bike = fleet()
    bike.set(JOB, "NOW")
    eventually(lambda: event(bike, JOB) == "STP", 4)
    assert worker.done == [JOB, JOB]
    assert ":retries" not in state_of(bike)


@pytest.mark.parametrize("schedule", ["CONTINUE", "NOW", HOURLY])
@pytest.mark.parametrize("what", MEANWHILE)
def test_setting_a_job_in_its_run_wins_over_the_retry(fleet: Fleet, schedule: str, what: str) -> None:
    """B10: a schedule that is set during a run that then raises is carried out, in place of a retry."""
    worker = Recorder()
    bike = fleet(worker, on_error="retry")
    bike.control("HALT")

    def act() -> None:
        MEANWHILE[what](bike)
        raise ValueError

    worker.acts[JOB] = act
    bike.set(JOB, schedule)
    step(bike)
    check_meanwhile(bike, what)


@pytest.mark.parametrize("what", [what for what in MEANWHILE if what != "enqueue"])
def test_setting_a_job_in_the_delay_wins_over_the_retry(fleet: Fleet, what: str) -> None:
    """B8: a schedule that is set while a job waits for its next try replaces the retry, and its count."""
    bike = failing(fleet, on_error="retry")
    bike.set(JOB, "CONTINUE")
    bike.work()
    assert state_of(bike)[":retries"] == {JOB: "1"}
    MEANWHILE[what](bike)
    check_meanwhile(bike, what)


@pytest.mark.parametrize("schedule", ["CONTINUE", "NOW", HOURLY])
@pytest.mark.parametrize("what", MEANWHILE)
def test_setting_a_job_in_its_run_wins_over_the_recovery(fleet: Fleet, loops: Loops, schedule: str, what: str) -> None:
    """B10: the same holds for a schedule that is set during a run that is then lost."""
    bike = fleet(on_timeout="retry", default_timeout=SOON_S)
    bike.control("HALT")
    bike.set(JOB, schedule)
    dispatch_at(bike, FUTURE)
    assert next(bike.consumer)[0] == JOB
    MEANWHILE[what](bike)
    eventually(lambda: not bike.is_working(JOB))
    bike.clear_control()
    loops.dispatch(on_timeout="retry")
    eventually(lambda: is_index_empty(bike), 3)
    check_meanwhile(bike, what)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_timeout": "later"}, "on_timeout: 'later' is not one of drop, reschedule, retry"),
        ({"on_error": ""}, "on_error: '' is not one of drop, reschedule, retry"),
        ({"retries": 0}, "retries: 0 is not a whole number from 1 to 100"),
        ({"retries": 101}, "retries: 101 is not a whole number from 1 to 100"),
        ({"retries": "3"}, "retries: '3' is not a whole number from 1 to 100"),
        ({"retries": True}, "retries: True is not a whole number from 1 to 100"),
        ({"retries": 1.0}, "retries: 1.0 is not a whole number from 1 to 100"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    """H: an unknown policy is refused when the object is created, with the list of policies."""
    with pytest.raises(ConfigError) as error:
        Redbike(Recorder(), **settings)
    assert str(error.value) == message


def test_failures_are_logged(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """D5: under each policy, a run that raised is logged with its traceback."""
    bike = failing(fleet, on_error="retry")
    bike.set(JOB, "NOW")
    bike.work()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "died" in record.message
    assert record.exc_info
