"""What each form of schedule does to a job: when it is set, in place of another one, during a run, and after it."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Fleet, Recorder, dispatch_at
from state import state

from redbike import Redbike, StopWork
from redbike.schedule import Step

PAST, FUTURE = 1_000_000_000, 4_000_000_000
DAY_S = 86_400
JOB = "x:A"
START = "DTSTART:20200101T000000\nRRULE:FREQ=DAILY"
OVER = "DTSTART:20200101T000000\nRRULE:FREQ=DAILY;COUNT=2"
DAILY = "RRULE:FREQ=DAILY"


def server_now(bike: Redbike) -> float:
    moment: Any = bike.redis.time()
    return float(moment[0] + moment[1] / 1e6)


def seen(bike: Redbike) -> dict[str, Any]:
    """The whole state but for what may be missing at any time, with events in place of statuses.

    Each event must have happened just now.
    """
    found = {name: held for name, held in state(bike.redis, bike.prefix).items() if not name.startswith(":")}
    found.pop("-control", None)
    for job, status in found.get("-statuses", {}).items():
        event, second = status.split(":")
        assert abs(int(second) - server_now(bike)) < 3
        found["-statuses"][job] = event
    return found


def queued(schedule: str) -> dict[str, Any]:
    return {
        "-schedules": {JOB: schedule},
        "-statuses": {JOB: "ENQ"},
        "-work-A": [JOB],
        "-work-A-members": {JOB},
    }


def timed(schedule: str, due_at: float) -> dict[str, Any]:
    return {"-schedules": {JOB: schedule}, "-statuses": {JOB: "TML"}, "-timeline": {JOB: due_at}}


def resting(schedule: str, event: str) -> dict[str, Any]:
    return {"-schedules": {JOB: schedule}, "-statuses": {JOB: event}}


@pytest.fixture
def step(bike: Redbike) -> Redbike:
    """A Redbike whose prefix is halted: each call of `work` is one turn, each call of `dispatch` is one pass."""
    bike.control("HALT")
    return bike


# B1 to B5: each form when it is set


def test_now(step: Redbike, worker: Recorder) -> None:
    """B1: NOW queues the job at once and registers STOP; it runs once, and then it is stopped."""
    plan = step.set(JOB, "NOW")
    assert plan is not None
    assert plan.step is Step.QUEUE
    assert seen(step) == queued("STOP")
    step.work()
    step.work()
    assert worker.done == [JOB]
    assert seen(step) == resting("STOP", "STP")


@pytest.mark.parametrize("text", ["0", "1", "-5", str(PAST), "1000000000.5"])
def test_at_in_the_past(step: Redbike, worker: Recorder, text: str) -> None:
    """B2: AT with a time in the past enters the timeline, is due at once, and runs once."""
    step.set(JOB, f"AT:{text}")
    assert seen(step) == timed("STOP", float(text))
    step.dispatch()
    assert seen(step) == queued("STOP")
    step.work()
    step.dispatch()
    step.work()
    assert worker.done == [JOB]
    assert seen(step) == resting("STOP", "STP")


def test_at_in_the_future(step: Redbike, worker: Recorder) -> None:
    """B2: AT with a time in the future waits on the timeline under exactly that time, and runs once when it comes."""
    step.set(JOB, f"AT:{FUTURE}")
    assert seen(step) == timed("STOP", FUTURE)
    step.dispatch()
    dispatch_at(step, FUTURE - 1)
    step.work()
    assert seen(step) == timed("STOP", FUTURE)
    dispatch_at(step, FUTURE)
    step.work()
    step.work()
    assert worker.done == [JOB]
    assert state(step.redis, step.prefix)["-schedules"] == {JOB: "STOP"}


def test_continue(step: Redbike, worker: Recorder) -> None:
    """B3: CONTINUE queues the job at once, and again after each run."""
    step.set(JOB, "CONTINUE")
    assert seen(step) == queued("CONTINUE")
    for _ in range(3):
        step.work()
        assert seen(step) == queued("CONTINUE")
    assert worker.done == [JOB] * 3


def test_stop_of_a_new_job(step: Redbike) -> None:
    """B4: STOP registers the job as stopped: it is in no queue and not on the timeline."""
    step.set(JOB, "STOP")
    assert seen(step) == resting("STOP", "STP")


@pytest.mark.parametrize("old", ["NOW", "CONTINUE"])
def test_stop_of_a_queued_job(step: Redbike, worker: Recorder, old: str) -> None:
    """B4: STOP lets a run happen that is already in a queue, and none after it."""
    step.set(JOB, old)
    step.set(JOB, "STOP")
    assert seen(step) == queued("STOP") | {"-statuses": {JOB: "STP"}}
    step.work()
    step.work()
    assert worker.done == [JOB]
    assert seen(step) == resting("STOP", "STP")


@pytest.mark.parametrize("old", ["NOW", "CONTINUE", DAILY])
def test_stop_of_a_running_job(step: Redbike, worker: Recorder, old: str) -> None:
    """B4: STOP lets a run go on that is under way, and none comes after it."""
    worker.acts[JOB] = lambda: step.set(JOB, "STOP") and None
    step.set(JOB, old)
    step.enqueue(JOB)
    step.work()
    dispatch_at(step, FUTURE)
    step.work()
    assert worker.done == [JOB]
    assert seen(step) == resting("STOP", "STP")


@pytest.mark.parametrize("old", [f"AT:{PAST}", f"AT:{FUTURE}", DAILY, START])
def test_stop_of_a_waiting_job(step: Redbike, worker: Recorder, old: str) -> None:
    """B4: STOP takes a job off the timeline, so that its waiting run does not happen."""
    step.set(JOB, old)
    step.set(JOB, "STOP")
    assert seen(step) == resting("STOP", "STP")
    dispatch_at(step, FUTURE)
    step.work()
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
def test_recurrence(step: Redbike, text: str, reference: str, due: str) -> None:
    """B5: a recurrence puts the job onto the timeline at its first occurrence strictly after the reference time; times
    without a zone are UTC, and without DTSTART the reference time is the start."""
    after, due_at = (datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() for moment in (reference, due))
    step.set(JOB, text, after=after)
    assert seen(step) == timed(text, due_at)


@pytest.mark.parametrize("text", [OVER, "RRULE:FREQ=DAILY;UNTIL=20200101T000000", "RRULE:FREQ=DAILY;COUNT=1"])
def test_recurrence_that_is_over(step: Redbike, text: str) -> None:
    """B5: a recurrence without an occurrence after the reference time stops the job, and says why in the plan."""
    plan = step.set(JOB, text)
    assert plan is not None
    assert (plan.step, plan.reason) == (Step.STOP, "the recurrence has no further run")
    assert seen(step) == resting(text, "STP")


def test_recurrence_after_a_run(step: Redbike, worker: Recorder) -> None:
    """B5, B9: after a run a recurrence puts the job back, at its first occurrence after the present, until there is
    none."""
    step.set(JOB, START, after=PAST)
    step.dispatch()
    step.work()
    now = server_now(step)
    assert seen(step) == timed(START, now - now % DAY_S + DAY_S)
    step.set(JOB, OVER, after=datetime(2020, 1, 1, tzinfo=UTC).timestamp())
    assert seen(step)["-timeline"] == {JOB: datetime(2020, 1, 2, tzinfo=UTC).timestamp()}
    step.dispatch()
    step.work()
    assert worker.done == [JOB] * 2
    assert seen(step) == resting(OVER, "STP")


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
def test_bad_schedule(step: Redbike, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """B6: a schedule that cannot be read makes the job BAD, with a warning of one line and no exception, and the job is
    in no queue and not on the timeline."""
    plan = step.set(JOB, text)
    assert seen(step) == resting(text, "BAD")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"job '{JOB}' is BAD: ")
    assert "\n" not in record.getMessage()
    assert plan is not None
    assert plan.step is Step.BAD
    assert plan.reason
    assert len(plan.reason) < 1000


def test_a_schedule_that_cannot_be_written(step: Redbike) -> None:
    """B6: text that no encoding has is BAD as well, and no exception."""
    plan = step.set(JOB, "\ud800")
    assert plan is not None
    assert plan.step is Step.BAD
    assert seen(step)["-statuses"] == {JOB: "BAD"}


def test_bad_schedule_written_by_others(step: Redbike, worker: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """B6: a schedule that turns out to be unreadable when a run ends makes the job BAD, with a warning."""
    step.set(JOB, "NOW")
    step.redis.hset(step.schedules_key, JOB, "garbage")
    step.work()
    assert worker.done == [JOB]
    assert seen(step) == resting("garbage", "BAD")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("old", ["NOW", f"AT:{FUTURE}", "CONTINUE", "STOP", DAILY, "garbage", None])
def test_none_unsets(step: Redbike, old: str | None) -> None:
    """B7: None as a schedule unsets the job: nothing of it is left."""
    step.set(JOB, old)
    assert step.set(JOB, None) is None
    assert seen(step) == {}


# B8: replacing

KINDS = ["NOW", f"AT:{PAST}", f"AT:{FUTURE}", "CONTINUE", "STOP", DAILY, OVER, "garbage", None]


def set_alone(kind: str | None) -> dict[str, Any]:
    """The state that a schedule brings about by itself, with PAST as its reference time."""
    match kind:
        case None:
            return {}
        case "NOW":
            return queued("STOP")
        case "CONTINUE":
            return queued(kind)
        case "STOP":
            return resting(kind, "STP")
        case "garbage":
            return resting(kind, "BAD")
        case str() if kind.startswith("AT:"):
            return timed("STOP", int(kind[3:]))
        case str() if kind == DAILY:
            return timed(kind, PAST + DAY_S)
        case _:
            return timed(kind, datetime(2020, 1, 1, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_replacing(step: Redbike, old: str | None, new: str | None) -> None:
    """B8: whatever the old schedule had put onto the timeline is gone or rescored when a new one is set; a run that is
    in the queue already stays there, once, unless the job is unset."""
    step.set(JOB, old, after=PAST)
    assert seen(step) == set_alone(old)
    step.set(JOB, new, after=PAST)
    expected = set_alone(new)
    if old in ("NOW", "CONTINUE") and new is not None:
        expected |= {"-work-A": [JOB], "-work-A-members": {JOB}}
    assert seen(step) == expected


@pytest.mark.parametrize("new", [f"AT:{FUTURE}", DAILY])
def test_waiting_plan_outlives_an_old_run(step: Redbike, worker: Recorder, new: str) -> None:
    """B8: a schedule that is set while a run of the old one is still in the queue stays in force when that run ends."""
    step.set(JOB, "CONTINUE")
    step.set(JOB, new)
    step.work()
    assert worker.done == [JOB]
    if new == DAILY:
        [due_at] = seen(step)["-timeline"].values()
        assert due_at == pytest.approx(server_now(step) + DAY_S, abs=3)
        assert seen(step) == timed(DAILY, due_at)
    else:
        assert seen(step) == timed("STOP", FUTURE)


# B9: the reference time


def due_of(bike: Redbike) -> float | None:
    return bike.tell(JOB)["next_run"]


def test_reference_is_after(step: Redbike) -> None:
    """B9: the reference time is `after` where it is given, whatever the time file says."""
    Path(step.timefile).write_text("1500000000")
    step.set(JOB, DAILY, after=1_400_000_000)
    assert due_of(step) == 1_400_000_000 + DAY_S
    step.set(JOB, DAILY, after=0)
    assert due_of(step) == DAY_S
    step.set(JOB, DAILY, after=1_400_000_000.75)
    assert due_of(step) == pytest.approx(1_400_000_000 + DAY_S, abs=1)


def test_reference_is_the_time_file(step: Redbike) -> None:
    """B9: without `after`, the reference time is the time in the time file."""
    Path(step.timefile).write_text("1500000000")
    step.set(JOB, DAILY)
    assert due_of(step) == 1_500_000_000 + DAY_S


@pytest.mark.parametrize("content", [None, "garbage"])
def test_reference_is_now(step: Redbike, content: str | None) -> None:
    """B9: without `after` and without a readable time file, the reference time is now."""
    if content is not None:
        Path(step.timefile).write_text(content)
    step.set(JOB, DAILY)
    assert due_of(step) == pytest.approx(server_now(step) + DAY_S, abs=3)


@pytest.mark.parametrize(("after", "year"), [(1_400_000_000, 2014), (None, 2017)])
def test_reference_of_a_file(step: Redbike, tmp_path: Path, after: int | None, year: int) -> None:
    """B9: schedules that are loaded at the start of `dispatch` go by `after`, else by the time file."""
    path = tmp_path / "schedules.csv"
    path.write_text(f"{JOB},RRULE:FREQ=YEARLY;INTERVAL=100\n")
    Path(step.timefile).write_text("1500000000")  # in 2017
    step.dispatch(after=after, csvfilename=path)
    assert datetime.fromtimestamp(due_of(step) or 0, UTC).year == year + 100


def test_reference_after_a_run_is_now(step: Redbike) -> None:
    """B9: when a job is rescheduled after a run, the reference time is now, whatever the time file says."""
    step.set(JOB, DAILY, after=PAST)
    step.dispatch()
    Path(step.timefile).write_text("1500000000")
    step.work()
    assert due_of(step) == pytest.approx(server_now(step) + DAY_S, abs=3)


# B10: setting a job that is running


def start_by(bike: Redbike, old: str) -> None:
    """Register the old schedule, and have the job queued."""
    bike.set(JOB, old)
    bike.enqueue(JOB)


@pytest.mark.parametrize("looked", [False, True], ids=["", "with a dispatcher's look"])
@pytest.mark.parametrize("new", ["NOW", f"AT:{PAST}", f"AT:{FUTURE}", "CONTINUE", "STOP", DAILY, "garbage", None])
@pytest.mark.parametrize("old", ["STOP", "CONTINUE", DAILY])
def test_setting_a_running_job(
    step: Redbike, fleet: Fleet, worker: Recorder, old: str, new: str | None, looked: bool
) -> None:
    """B10: setting a job that is running does not start it a second time, and when the run ends, the schedule as it
    stands then decides: a NOW or a due AT runs after that run."""
    second = Recorder()
    other = fleet(second)

    def set_meanwhile() -> None:
        if len(worker.done) > 1:
            return
        other.set(JOB, new)
        if looked:
            other.dispatch()
        other.work()
        assert other.is_working(JOB)
        assert "-work-A" not in state(step.redis, step.prefix)

    worker.acts[JOB] = set_meanwhile
    start_by(step, old)
    step.work()
    assert not step.is_working(JOB)
    assert (worker.done, second.done) == ([JOB], [])
    after_run = seen(step)
    if new in ("NOW", f"AT:{PAST}"):
        if looked and "-timeline" in after_run:  # put off to the next full second, which has not come yet
            assert after_run["-timeline"][JOB] <= server_now(step) + 1
            assert after_run == timed("STOP", after_run["-timeline"][JOB])
        else:
            assert after_run == queued("STOP")
        dispatch_at(other, server_now(step) + 2)
        step.work()
        assert worker.done == [JOB] * 2
        assert seen(step) == resting("STOP", "STP")
        dispatch_at(other, server_now(step) + 2)
        step.work()
        assert worker.done == [JOB] * 2
    elif new == DAILY:
        assert after_run == timed(DAILY, after_run["-timeline"][JOB])
        assert after_run["-timeline"][JOB] == pytest.approx(server_now(step) + DAY_S, abs=3)
    else:
        assert after_run == set_alone(new)


@pytest.mark.parametrize("new", ["NOW", f"AT:{PAST}"])
def test_set_during_a_run_that_dies(step: Redbike, worker: Recorder, new: str) -> None:
    """B10: a NOW or a due AT that arrives during a run is not lost when that run dies."""

    def die_once() -> None:
        if len(worker.done) == 1:
            step.set(JOB, new)
            raise RuntimeError("on purpose")

    worker.acts[JOB] = die_once
    step.set(JOB, "CONTINUE")
    step.work()
    dispatch_at(step, server_now(step) + 2)
    step.work()
    assert worker.done == [JOB] * 2
    assert seen(step) == resting("STOP", "STP")


def test_set_during_a_run_that_stops_itself(step: Redbike, worker: Recorder) -> None:
    """B10: a NOW that arrives during a run is not lost when that run raises StopWork: it came after that run began."""

    def stop_once() -> None:
        if len(worker.done) == 1:
            step.set(JOB, "NOW")
            raise StopWork

    worker.acts[JOB] = stop_once
    step.set(JOB, "CONTINUE")
    step.work()
    step.work()
    assert worker.done == [JOB] * 2
    assert seen(step) == resting("STOP", "STP")


def test_set_twice_during_a_run(step: Redbike, worker: Recorder) -> None:
    """B10: the last schedule set during a run is the one that counts."""

    def set_twice() -> None:
        step.set(JOB, "NOW")
        step.set(JOB, DAILY)
        step.set(JOB, f"AT:{FUTURE}")

    worker.acts[JOB] = set_twice
    step.set(JOB, "CONTINUE")
    step.work()
    assert seen(step) == timed("STOP", FUTURE)


def test_enqueue_during_a_run(step: Redbike, worker: Recorder) -> None:
    """B10: a job that is enqueued while it runs is not started a second time, and runs again after that run."""
    acts: list[Callable[[], None]] = [lambda: step.enqueue(JOB)]
    worker.acts[JOB] = lambda: acts.pop()() if acts else None
    step.set(JOB, "NOW")
    step.work()
    dispatch_at(step, server_now(step) + 2)
    step.work()
    step.work()
    assert worker.done == [JOB] * 2


# B11


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (r"DTSTART:20200101T090000\nRRULE:FREQ=DAILY", "DTSTART:20200101T090000\nRRULE:FREQ=DAILY"),
        (r"DTSTART:20200101T090000\nRRULE:FREQ=DAILY\nEXDATE:20260101T090000", None),
        (r"NOW\n", None),
    ],
)
def test_two_characters_are_a_line_break(step: Redbike, typed: str, meant: str | None) -> None:
    """B11: the two characters \\n in a schedule mean the same as a line break."""
    step.set(JOB, typed, after=1_767_200_000)
    as_typed = seen(step)
    step.flush()
    step.set(JOB, meant or typed.replace(r"\n", "\n"), after=1_767_200_000)
    assert as_typed == seen(step)
    assert as_typed["-statuses"][JOB] != "BAD"
