"""The forms of schedule that 0.13.1 did not know (EVERY, CRON, AT in ISO 8601), and the reason why a text is BAD."""

import logging
import re
from datetime import UTC, datetime

import pytest
from conftest import Recorder
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from redbike import Redbike
from redbike.schedule.forms import MAX_TEXT_LENGTH, Action, read
from redbike.schedule.forms import _remembered as remembered  # its bound is a promise
from redbike.schedule.rrule.recurrence import Recurrence

JOB = "job:A"
MOMENT = datetime(2026, 11, 22, 3, 14, 15, tzinfo=UTC)
NOW = MOMENT.timestamp()

# EVERY


@pytest.mark.parametrize(
    ("text", "interval_s"),
    [
        ("EVERY:90", 90),
        ("EVERY:90s", 90),
        ("EVERY:5m", 300),
        ("EVERY:2h", 7200),
        ("EVERY:1d", 86_400),
        ("EVERY:1", 1),
        ("EVERY: 7m ", 420),
    ],
)
def test_every_is_a_recurrence_from_when_it_is_set(text: str, interval_s: int) -> None:
    """EVERY is registered as an RRULE whose DTSTART is the second of the `set`; python-dateutil reads the same runs
    from it.
    """
    plan = read(text).first(NOW + 0.75)
    assert (plan.action, plan.due_at) == (Action.AT, NOW + interval_s)
    assert plan.registered.startswith("DTSTART:20261122T031415\nRRULE:FREQ=")
    theirs = rrulestr(plan.registered)[:4]
    assert [run.replace(tzinfo=UTC).timestamp() for run in theirs] == [NOW + n * interval_s for n in range(4)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 10**5), st.floats(0, 0.999))
def test_every_does_not_drift(interval_s: int, late_s: float, fraction: float) -> None:
    """However late a run ends, the next run is the first future time that is a whole number of intervals after the
    `set`.
    """
    plan = read(f"EVERY:{interval_s}").first(NOW + fraction)
    assert plan.due_at is not None
    ended_at = plan.due_at + late_s
    due_at = read(plan.registered).again(ended_at).due_at
    assert due_at is not None
    assert (due_at - NOW) % interval_s == 0
    assert ended_at < due_at <= ended_at + interval_s


def test_every_is_set_as_a_recurrence(bike: Redbike) -> None:
    """B5: the registered schedule of a job on EVERY is the recurrence, which any other reader understands."""
    bike.set(JOB, "EVERY:2h", after=NOW)
    assert bike.tell(JOB) == {
        "status": bike.tell(JOB)["status"],
        "next_run": NOW + 7200,
        "schedule": "DTSTART:20261122T031415\nRRULE:FREQ=HOURLY;INTERVAL=2",
        "working": False,
    }


# CRON


def test_cron_is_set_as_it_is(bike: Redbike, worker: Recorder) -> None:
    """A cron expression is registered as written, and after a run it puts the job back onto the timeline."""
    text = "CRON:*/5 9-17 * * mon-fri Europe/Berlin"
    bike.set(JOB, text, after=NOW)
    assert bike.tell(JOB)["schedule"] == text
    assert bike.tell(JOB)["next_run"] == datetime(2026, 11, 23, 8, tzinfo=UTC).timestamp()
    bike.control("HALT")
    bike.enqueue(JOB)
    bike.work()
    assert worker.done == [JOB]
    next_run = bike.tell(JOB)["next_run"]
    assert next_run is not None
    assert next_run % 300 == 0


@pytest.mark.parametrize("text", ["CRON:0 8 * * *", "CRON: 0 8 * * *", "CRON:  0   8 * *\t* "])
def test_cron_with_spaces(text: str) -> None:
    """Any white space may separate the fields of a cron expression, and follow the colon."""
    assert read(text).first(NOW).due_at == datetime(2026, 11, 22, 8, tzinfo=UTC).timestamp()


def test_cron_without_a_run() -> None:
    """A cron expression that matches no day within fifty years stops the job, and the plan says why."""
    plan = read("CRON:0 0 */31 2 mon#5").first(NOW)
    assert (plan.action, plan.reason) == (Action.STOP, "the cron expression has no run within fifty years")


# AT


@pytest.mark.parametrize(
    ("text", "due_at"),
    [
        ("AT:2026-12-24T18:00:00+01:00", datetime(2026, 12, 24, 17, tzinfo=UTC).timestamp()),
        ("AT:2026-12-24T18:00:00Z", datetime(2026, 12, 24, 18, tzinfo=UTC).timestamp()),
        ("AT:2026-12-24T18:00:00", datetime(2026, 12, 24, 18, tzinfo=UTC).timestamp()),
        ("AT:2026-12-24 18:00", datetime(2026, 12, 24, 18, tzinfo=UTC).timestamp()),
        ("AT:2026-12-24", datetime(2026, 12, 24, tzinfo=UTC).timestamp()),
        ("AT:2026-12-24T18:00:00.25-03:30", datetime(2026, 12, 24, 21, 30, 0, 250_000, tzinfo=UTC).timestamp()),
        ("AT:1790000000", 1_790_000_000),
        ("AT:1790000000.5", 1_790_000_000.5),
        ("AT:-5", -5),
        ("AT:20261224", 20_261_224),  # digits alone are Unix seconds
    ],
)
def test_at(bike: Redbike, text: str, due_at: float) -> None:
    """B2: AT takes Unix seconds or a time of ISO 8601, in UTC without a zone, and the timeline holds Unix time."""
    bike.set(JOB, text)
    assert bike.tell(JOB)["next_run"] == due_at
    assert bike.tell(JOB)["schedule"] == "STOP"


# Reasons

REASONS = {
    "": "schedule is empty: give one of NOW, AT:TIME,",
    "\ud800": "schedule is not valid UTF-8",
    "NOW and then": "nothing may follow NOW",
    "CONTINUE please": "nothing may follow CONTINUE",
    "stop:": "nothing may follow STOP",
    "NOW:": "nothing may follow NOW",
    "now": "write NOW in capitals",
    "at:1790000000": "write AT in capitals",
    "every:5m": "write EVERY in capitals",
    "Cron:* * * * *": "write CRON in capitals",
    "EVERY:": "'' is not an interval: write a whole number of seconds, at least 1",
    "EVERY:0": "'0' is not an interval",
    "EVERY:-5": "'-5' is not an interval",
    "EVERY:1.5h": "'1.5h' is not an interval",
    "EVERY:2w": "'2w' is not an interval.*EVERY:1d",
    "EVERY:٣": "is not an interval",
    "EVERY:9999999999": "'9999999999' is not an interval",
    "CRON:": "five fields are needed",
    "CRON:* 25 * * *": "the hour field '25' is not valid",
    "CRON:* * * * mon Mars/Olympus": "'Mars/Olympus' is not a time zone of the IANA database",
    "DTSTART;TZID=Mars/Olympus:20260101T000000\nFREQ=DAILY": "TZID='Mars/Olympus' is not a time zone of the IANA",
    "AT:": "'' is not a time in Unix seconds, such as 1790000000, or in ISO 8601, such as",
    "AT:tomorrow": "'tomorrow' is not a time",
    "AT:2026-13-01": "'2026-13-01' is not a time",
    "AT:2026-12-24T18:00:00 Europe/Berlin": "is not a time",
    "AT:1790000000000": "'1790000000000' is after the year 9999; is it in milliseconds?",
    "AT:-99999999999": "'-99999999999' is before the year 1: the earliest time is -62135596800",
    "AT:0001-01-01T00:00:00+14:00": "is before the year 1",
    "AT:9999-12-31T23:59:59-14:00": "is after the year 9999",
    "RRULE:FREQ=SOMETIMES": "FREQ='SOMETIMES' is not known",
    "x" * (MAX_TEXT_LENGTH + 1): "schedule of 65537 characters: at most 65536 are allowed",
}


@pytest.mark.parametrize("text", REASONS, ids=lambda text: ascii(text[:40]))
def test_reason(text: str) -> None:
    """B6: the plan of a schedule that cannot be read is BAD with the reason in one short line, each time it is made."""
    for plan in (read(text).first(NOW), read(text).again(NOW)):
        assert (plan.action, plan.registered) == (Action.BAD, text)
        assert plan.reason is not None
        assert re.search(REASONS[text], plan.reason)
        assert "\n" not in plan.reason
        assert len(plan.reason) < 500


def test_reason_is_told_and_logged(bike: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """B6: `set` returns the plan with the reason, and logs the same reason."""
    plan = bike.set(JOB, "CRON:* 25 * * *")
    assert plan is not None
    assert plan.reason is not None
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == f"job '{JOB}' is BAD: {plan.reason}"


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["", "EVERY:", "CRON:", "AT:", "NOW", "DTSTART:", "RRULE:FREQ=", "CRON:* * * * * "]),
    st.text(max_size=30) | st.text(alphabet="0123456789*/,-LW#:T+Zsmhd FREQ=", max_size=30),
    st.floats(-(10**11), 10**12),
)
def test_nothing_makes_it_fail(form: str, rest: str, reference: float) -> None:
    """B6: any text at any time gives a plan and no exception."""
    schedule = read(form + rest)
    for plan in (schedule.first(reference), schedule.again(reference)):
        assert plan.action in Action
        assert (plan.due_at is not None) == (plan.action is Action.AT)


# What is remembered


def test_read_texts_are_remembered() -> None:
    """The same text gives the same object, so that repeated runs parse nothing. Long texts are not kept, and the number
    of the others is limited.
    """
    assert read("FREQ=DAILY;INTERVAL=17") is read("FREQ=DAILY;INTERVAL=17")
    long = "FREQ=DAILY;BYHOUR=" + ",".join(["1"] * 600)
    assert read(long) is not read(long)
    assert remembered.cache_info().maxsize == 2048


@pytest.mark.parametrize(
    "text",
    [
        "DTSTART;TZID=Europe/Berlin:20200101T090000\nRRULE:FREQ=DAILY",
        "DTSTART:20200101T090000\nRRULE:FREQ=MINUTELY;INTERVAL=7;COUNT=3000000",
        "DTSTART:20261120T090000\nRRULE:FREQ=DAILY;COUNT=3",
        "FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=7;BYMINUTE=30;BYSECOND=0",
        "FREQ=DAILY",
        "CRON:*/7 * * * * America/New_York",
    ],
)
@settings(max_examples=30, deadline=None)
@given(offsets=st.lists(st.floats(-300_000, 300_000), min_size=2, max_size=12))
def test_the_last_answer_is_never_a_wrong_one(text: str, offsets: list[float]) -> None:
    """A schedule that was asked many times in any order answers like a new schedule."""
    for offset in offsets:
        answer = read(text).again(NOW + offset)
        remembered.cache_clear()
        assert answer == read(text).again(NOW + offset)
        for other in offsets:
            read(text).again(NOW + other)


STARTLESS = [
    "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
    "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYHOUR=9;BYMINUTE=0,30;BYSECOND=0",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1,2;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
    "FREQ=YEARLY;BYEASTER=-2;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
    "FREQ=HOURLY;BYMINUTE=10,50;BYSECOND=5;BYSETPOS=2",
    "FREQ=MINUTELY;BYSECOND=30;BYHOUR=8;BYDAY=-1FR",
    "FREQ=SECONDLY;UNTIL=20300101T000000",
    "RRULE:FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0\nEXRULE:FREQ=DAILY;BYDAY=SU;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
]


@pytest.mark.parametrize("text", STARTLESS)
@settings(max_examples=25, deadline=None)
@given(reference=st.integers(0, 2_500_000_000))
def test_a_rule_that_takes_nothing_from_its_start_needs_none(text: str, reference: int) -> None:
    """A rule without DTSTART that takes nothing from its start gives the runs of a start at the reference time."""
    recurrence = Recurrence(text)
    assert not recurrence.restarts
    start = datetime.fromtimestamp(reference, UTC)
    assert recurrence.after(reference) == Recurrence(f"DTSTART:{start:%Y%m%dT%H%M%S}\n{text}").after(reference)


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY",
        "FREQ=DAILY;BYHOUR=9;BYMINUTE=0",
        "FREQ=WEEKLY;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
        "FREQ=DAILY;INTERVAL=2;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
        "FREQ=DAILY;COUNT=2;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
        "FREQ=WEEKLY;BYDAY=MO,FR;BYSETPOS=1;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
        "FREQ=SECONDLY\nEXRULE:FREQ=HOURLY",
    ],
)
def test_a_rule_that_leaves_something_to_its_start_restarts(text: str) -> None:
    """A rule without DTSTART that takes something from its start says that each run begins it again."""
    assert read(text).restarts
    assert not read(f"DTSTART:20260101T000000\n{text}").restarts
