"""What each form of schedule does to a job: when it is set, when it replaces another schedule, and after a run."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import Recorder
from expected import JOB, OVER, START, queued_job, resting, seen, set_alone, timed
from helpers import DAILY, DAY_S, FUTURE, PAST, dispatch_at, server_now
from state import state

from redbike import Redbike
from redbike.schedule.forms import Action

# B1 to B5: each form when it is set


def test_now(halted: Redbike, worker: Recorder) -> None:
    """B1: NOW queues the job at once and registers STOP; it runs once, and then it is stopped."""
    plan = halted.set(JOB, "NOW")
    assert plan is not None
    assert plan.action is Action.QUEUE
    assert seen(halted) == queued_job("STOP")
    halted.work()
    halted.work()
    assert worker.done == [JOB]
    assert seen(halted) == resting("STOP", "STP")


@pytest.mark.parametrize("text", ["0", "1", "-5", str(PAST), "1000000000.5"])
def test_at_in_the_past(halted: Redbike, worker: Recorder, text: str) -> None:
    """B2: AT with a time in the past enters the timeline, is due at once, and runs once."""
    halted.set(JOB, f"AT:{text}")
    assert seen(halted) == timed("STOP", float(text))
    halted.dispatch()
    assert seen(halted) == queued_job("STOP")
    halted.work()
    halted.dispatch()
    halted.work()
    assert worker.done == [JOB]
    assert seen(halted) == resting("STOP", "STP")


def test_at_in_the_future(halted: Redbike, worker: Recorder) -> None:
    """B2: AT with a time in the future waits on the timeline under exactly that time, and runs once when it comes."""
    halted.set(JOB, f"AT:{FUTURE}")
    assert seen(halted) == timed("STOP", FUTURE)
    halted.dispatch()
    dispatch_at(halted, FUTURE - 1)
    halted.work()
    assert seen(halted) == timed("STOP", FUTURE)
    dispatch_at(halted, FUTURE)
    halted.work()
    halted.work()
    assert worker.done == [JOB]
    assert state(halted.redis, halted.prefix)["-schedules"] == {JOB: "STOP"}


def test_continue(halted: Redbike, worker: Recorder) -> None:
    """B3: CONTINUE queues the job at once, and again after each run."""
    halted.set(JOB, "CONTINUE")
    assert seen(halted) == queued_job("CONTINUE")
    for _ in range(3):
        halted.work()
        assert seen(halted) == queued_job("CONTINUE")
    assert worker.done == [JOB] * 3


def test_stop_of_a_new_job(halted: Redbike) -> None:
    """B4: STOP registers the job as stopped: it is in no queue and not on the timeline."""
    halted.set(JOB, "STOP")
    assert seen(halted) == resting("STOP", "STP")


@pytest.mark.parametrize("old", ["NOW", "CONTINUE"])
def test_stop_of_a_queued_job(halted: Redbike, worker: Recorder, old: str) -> None:
    """B4: STOP allows a run that is already in a queue, and no run after it."""
    halted.set(JOB, old)
    halted.set(JOB, "STOP")
    assert seen(halted) == queued_job("STOP") | {"-statuses": {JOB: "STP"}}
    halted.work()
    halted.work()
    assert worker.done == [JOB]
    assert seen(halted) == resting("STOP", "STP")


@pytest.mark.parametrize("old", ["NOW", "CONTINUE", DAILY])
def test_stop_of_a_running_job(halted: Redbike, worker: Recorder, old: str) -> None:
    """B4: STOP does not end a running job, and no run follows it."""
    worker.acts[JOB] = lambda: halted.set(JOB, "STOP") and None
    halted.set(JOB, old)
    halted.enqueue(JOB)
    halted.work()
    dispatch_at(halted, FUTURE)
    halted.work()
    assert worker.done == [JOB]
    assert seen(halted) == resting("STOP", "STP")


@pytest.mark.parametrize("old", [f"AT:{PAST}", f"AT:{FUTURE}", DAILY, START])
def test_stop_of_a_waiting_job(halted: Redbike, worker: Recorder, old: str) -> None:
    """B4: STOP takes a job off the timeline, so that its waiting run does not happen."""
    halted.set(JOB, old)
    halted.set(JOB, "STOP")
    assert seen(halted) == resting("STOP", "STP")
    dispatch_at(halted, FUTURE)
    halted.work()
    assert worker.done == []


@pytest.mark.parametrize(
    ("text", "reference", "due"),
    [
        ("RRULE:FREQ=HOURLY", "2026-01-01 10:20:30", "2026-01-01 11:20:30"),
        ("FREQ=HOURLY", "2026-01-01 10:20:30", "2026-01-01 11:20:30"),
        ("DTSTART:20200101T090000\nRRULE:FREQ=DAILY", "2026-01-01 08:59:59", "2026-01-01 09:00:00"),
        ("DTSTART:20200101T090000\nRRULE:FREQ=DAILY", "2026-01-01 09:00:00", "2026-01-02 09:00:00"),
        ("DTSTART:20200101T090000Z\nRRULE:FREQ=DAILY", "2026-01-01 09:00:00", "2026-01-02 09:00:00"),
        ("DTSTART:20200101T090000\nFREQ=DAILY", "2026-01-01 09:00:00", "2026-01-02 09:00:00"),
        ("DTSTART:20300101T090000\nRRULE:FREQ=DAILY", "2026-01-01 09:00:00", "2030-01-01 09:00:00"),
        ("RRULE:FREQ=DAILY;BYHOUR=3;BYMINUTE=0;BYSECOND=0", "2026-01-01 10:00:00", "2026-01-02 03:00:00"),
        ("DTSTART:20260101T000000\nRRULE:FREQ=DAILY;COUNT=3", "2026-01-01 10:00:00", "2026-01-02 00:00:00"),
        (
            "DTSTART:20260101T000000\nRRULE:FREQ=DAILY\nEXDATE:20260102T000000",
            "2026-01-01 10:00:00",
            "2026-01-03 00:00:00",
        ),
        (
            "DTSTART:20260101T000000\nRRULE:FREQ=MONTHLY\nRRULE:FREQ=WEEKLY",
            "2026-01-30 00:00:00",
            "2026-02-01 00:00:00",
        ),
        ("DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY", "2026-07-01 00:00:00", "2026-07-01 07:00:00"),
    ],
)
def test_recurrence(halted: Redbike, text: str, reference: str, due: str) -> None:
    """B5: a recurrence puts the job on the timeline at its first occurrence strictly after the reference time. Times
    without a zone are UTC, and without DTSTART the reference time is the start.
    """
    after, due_at = (datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() for moment in (reference, due))
    halted.set(JOB, text, after=after)
    assert seen(halted) == timed(text, due_at)


@pytest.mark.parametrize("text", [OVER, "RRULE:FREQ=DAILY;UNTIL=20200101T000000", "RRULE:FREQ=DAILY;COUNT=1"])
def test_recurrence_that_is_over(halted: Redbike, text: str) -> None:
    """B5: a recurrence without an occurrence after the reference time stops the job, and the plan says why."""
    plan = halted.set(JOB, text)
    assert plan is not None
    assert (plan.action, plan.reason) == (Action.STOP, "the recurrence has no further run")
    assert seen(halted) == resting(text, "STP")


def test_recurrence_after_a_run(halted: Redbike, worker: Recorder) -> None:
    """B5, B9: after a run, a recurrence puts the job on the timeline at its first occurrence after the present, until
    there is none.
    """
    halted.set(JOB, START, after=PAST)
    halted.dispatch()
    halted.work()
    now = server_now(halted)
    assert seen(halted) == timed(START, now - now % DAY_S + DAY_S)
    halted.set(JOB, OVER, after=datetime(2020, 1, 1, tzinfo=UTC).timestamp())
    assert seen(halted)["-timeline"] == {JOB: datetime(2020, 1, 2, tzinfo=UTC).timestamp()}
    halted.dispatch()
    halted.work()
    assert worker.done == [JOB] * 2
    assert seen(halted) == resting(OVER, "STP")


# B6 and B7


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "garbage",
        "RRULE:",
        "RRULE:FREQ=NEVER",
        "RRULE:FREQ=DAILY;INTERVAL=0",
        "RRULE:FREQ=DAILY;BYMONTH=13",
        "DTSTART:20200101T000000",
        "DTSTART:tomorrow\nRRULE:FREQ=DAILY",
        "AT:",
        "AT:noon",
        "AT:1e300",
        "AT:nan",
        "AT:1790000000000",
        "now",
        "Stop",
        "CONTINUE please",
        "NOW:",
        "🚲",
        "\x00",
        "\udcff",
        "x" * 100_000,
        "RRULE:FREQ=DAILY;BYHOUR=" + ",".join(["1"] * 40_000),
    ],
)
def test_bad_schedule(halted: Redbike, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """B6: a schedule that cannot be read makes the job BAD, with a warning of one line and no exception; the job is in
    no queue and not on the timeline.
    """
    plan = halted.set(JOB, text)
    assert seen(halted) == resting(text, "BAD")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"job '{JOB}' is BAD: ")
    assert "\n" not in record.getMessage()
    assert plan is not None
    assert plan.action is Action.BAD
    assert plan.reason
    assert len(plan.reason) < 1000


def test_a_schedule_that_cannot_be_written(halted: Redbike) -> None:
    """B6: text that cannot be encoded is BAD as well, without an exception."""
    plan = halted.set(JOB, "\ud800")
    assert plan is not None
    assert plan.action is Action.BAD
    assert seen(halted)["-statuses"] == {JOB: "BAD"}


def test_bad_schedule_written_by_others(halted: Redbike, worker: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """B6: a schedule that is unreadable when a run ends makes the job BAD, with a warning."""
    halted.set(JOB, "NOW")
    halted.redis.hset(halted.schedules_key, JOB, "garbage")
    halted.work()
    assert worker.done == [JOB]
    assert seen(halted) == resting("garbage", "BAD")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("old", ["NOW", f"AT:{FUTURE}", "CONTINUE", "STOP", DAILY, "garbage", None])
def test_none_unsets(halted: Redbike, old: str | None) -> None:
    """B7: None as a schedule unsets the job: nothing of it is left."""
    halted.set(JOB, old)
    assert halted.set(JOB, None) is None
    assert seen(halted) == {}


# B8: a new schedule

KINDS = ["NOW", f"AT:{PAST}", f"AT:{FUTURE}", "CONTINUE", "STOP", DAILY, OVER, "garbage", None]


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_replacing(halted: Redbike, old: str | None, new: str | None) -> None:
    """B8: a new schedule removes or moves the run that the old schedule put on the timeline. A run that is already
    queued stays there, once, unless the job is unset.
    """
    halted.set(JOB, old, after=PAST)
    assert seen(halted) == set_alone(old)
    halted.set(JOB, new, after=PAST)
    expected = set_alone(new)
    if old in ("NOW", "CONTINUE") and new is not None:
        expected |= {"-work-A": [JOB], "-work-A-members": {JOB}}
    assert seen(halted) == expected


@pytest.mark.parametrize("new", [f"AT:{FUTURE}", DAILY])
def test_waiting_plan_outlives_an_old_run(halted: Redbike, worker: Recorder, new: str) -> None:
    """B8: a schedule that is set while a run of the old schedule is queued stays in force when that run ends."""
    halted.set(JOB, "CONTINUE")
    halted.set(JOB, new)
    halted.work()
    assert worker.done == [JOB]
    if new == DAILY:
        [due_at] = seen(halted)["-timeline"].values()
        assert due_at == pytest.approx(server_now(halted) + DAY_S, abs=3)
        assert seen(halted) == timed(DAILY, due_at)
    else:
        assert seen(halted) == timed("STOP", FUTURE)


# B9: the reference time


def due_of(bike: Redbike) -> float | None:
    return bike.tell(JOB)["next_run"]


def test_reference_is_after(halted: Redbike) -> None:
    """B9: the reference time is `after` where it is given, whatever the time file says."""
    Path(halted.timefile).write_text("1500000000")
    halted.set(JOB, DAILY, after=1_400_000_000)
    assert due_of(halted) == 1_400_000_000 + DAY_S
    halted.set(JOB, DAILY, after=0)
    assert due_of(halted) == DAY_S
    halted.set(JOB, DAILY, after=1_400_000_000.75)
    assert due_of(halted) == pytest.approx(1_400_000_000 + DAY_S, abs=1)


def test_reference_is_the_time_file(halted: Redbike) -> None:
    """B9: without `after`, the reference time is the time in the time file."""
    Path(halted.timefile).write_text("1500000000")
    halted.set(JOB, DAILY)
    assert due_of(halted) == 1_500_000_000 + DAY_S


@pytest.mark.parametrize("content", [None, "garbage"])
def test_reference_is_now(halted: Redbike, content: str | None) -> None:
    """B9: without `after` and without a readable time file, the reference time is now."""
    if content is not None:
        Path(halted.timefile).write_text(content)
    halted.set(JOB, DAILY)
    assert due_of(halted) == pytest.approx(server_now(halted) + DAY_S, abs=3)


@pytest.mark.parametrize(("after", "year"), [(1_400_000_000, 2014), (None, 2017)])
def test_reference_of_a_file(halted: Redbike, tmp_path: Path, after: int | None, year: int) -> None:
    """B9: schedules that are loaded at the start of `dispatch` use `after`, else the time file."""
    path = tmp_path / "schedules.csv"
    path.write_text(f"{JOB},RRULE:FREQ=YEARLY;INTERVAL=100\n")
    Path(halted.timefile).write_text("1500000000")  # in 2017
    halted.dispatch(after=after, csvfilename=path)
    assert datetime.fromtimestamp(due_of(halted) or 0, UTC).year == year + 100


def test_reference_after_a_run_is_now(halted: Redbike) -> None:
    """B9: when a job is rescheduled after a run, the reference time is now, whatever the time file says."""
    halted.set(JOB, DAILY, after=PAST)
    halted.dispatch()
    Path(halted.timefile).write_text("1500000000")
    halted.work()
    assert due_of(halted) == pytest.approx(server_now(halted) + DAY_S, abs=3)


# B11


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"DTSTART:20200101T090000\nRRULE:FREQ=DAILY", "DTSTART:20200101T090000\nRRULE:FREQ=DAILY"),
        (r"DTSTART:20200101T090000\nRRULE:FREQ=DAILY\nEXDATE:20260101T090000", None),
        (r"NOW\n", None),
    ],
)
def test_two_characters_are_a_line_break(halted: Redbike, typed: str, meant: str | None) -> None:
    """B11: the two characters \\n in a schedule mean the same as a line break."""
    halted.set(JOB, typed, after=1_767_200_000)
    as_typed = seen(halted)
    halted.flush()
    halted.set(JOB, meant or typed.replace(r"\n", "\n"), after=1_767_200_000)
    assert as_typed == seen(halted)
    assert as_typed["-statuses"][JOB] != "BAD"
