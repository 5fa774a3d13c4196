"""Celery's schedules as schedule texts, and back: intervals, rrules, own classes, and schedules without a text."""

import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redbeat.schedules
from celery import Celery
from celery.schedules import BaseSchedule, crontab, schedstate, schedule, solar
from celery.utils.time import LocalTimezone
from chains import runs_of
from dateutil.rrule import FR, MO
from hypothesis import given
from hypothesis import strategies as st

from redbike.bridges.celery.intervals import interval_seconds, interval_text, relative_interval, relative_text
from redbike.bridges.celery.schedules import (
    Endless,
    RedbikeSchedule,
    Written,
    is_same,
    next_after,
    restored,
    rrule,
    written,
)
from redbike.schedule.forms import read

NOW = 1_790_000_000.25  # 2026-09-21 16:13:20 in Berlin
MOMENT = datetime.fromtimestamp(NOW, UTC)
BERLIN = ZoneInfo("Europe/Berlin")
APP = Celery(set_as_current=False, timezone="Europe/Berlin")
OTHER = Celery(set_as_current=False, timezone="Asia/Tokyo")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


class Odd(BaseSchedule):
    """Runs at each odd hour. Defines no __reduce__."""

    def __init__(self, minute: int, labels: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.minute, self.labels = minute, labels

    def is_due(self, last_run_at: datetime) -> Any:
        """Ask again each minute, as schedules that poll do."""
        now = self.now()
        due = now.hour % 2 == 1 and now.minute == self.minute and now - last_run_at > timedelta(minutes=1)
        return schedstate(due, 60 - now.second)


class OfficeHours(schedule):
    """An interval that rests at night. Its __reduce__ is that of Celery's interval: it holds a timedelta."""

    def is_due(self, last_run_at: datetime) -> Any:
        """Return Celery's answer during the day, and the time to the morning at night."""
        now = self.maybe_make_aware(self.now())
        if 8 <= now.hour < 18:
            return super().is_due(last_run_at)
        morning = now.replace(hour=8, minute=0, second=0, microsecond=0)
        return schedstate(False, (morning + timedelta(days=now.hour >= 18) - now).total_seconds())


class OwnClock(BaseSchedule):
    """Does not look at now()."""

    def __init__(self, seconds: float | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds = seconds

    def is_due(self, last_run_at: datetime) -> Any:  # noqa: ARG002
        """Return always the same answer."""
        return schedstate(False, self.seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.seconds,)


class Always(BaseSchedule):
    """Is due whenever it is asked, and wants to be asked again in five seconds."""

    def is_due(self, last_run_at: datetime) -> Any:  # noqa: ARG002
        """Return that a run is due."""
        self.now()
        return schedstate(True, 5)


class Forever(BaseSchedule):
    """Looks at now(), and is never due."""

    def is_due(self, last_run_at: datetime) -> Any:  # noqa: ARG002
        """Ask again in a second, without end."""
        self.now()
        return schedstate(False, 1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@given(st.integers(1, 10**9))
def test_an_interval_and_its_registered_form_have_a_way_back(seconds: int) -> None:
    """EVERY, and the recurrence as which Redbike registers it, say the same number of seconds."""
    text = interval_text(seconds)
    if text is None:
        assert seconds > 999_999_999
        return
    assert interval_seconds(text) == seconds
    registered = read(text).first(NOW).registered
    assert interval_seconds(registered) == seconds
    assert interval_seconds(registered.replace("\n", "\\n")) == seconds
    begun = interval_text(seconds, NOW)
    assert begun is not None
    assert interval_seconds(begun) == seconds
    assert runs_of(begun, NOW - 1, 2) == [int(NOW), int(NOW) + seconds]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (10, "EVERY:10s"),
        (90, "EVERY:90s"),
        (300, "EVERY:5m"),
        (7200, "EVERY:2h"),
        (86400, "EVERY:1d"),
        (5400.0, "EVERY:90m"),
    ],
)
def test_an_interval_has_the_largest_unit(seconds: float, text: str) -> None:
    """The text is as a person would write it."""
    assert interval_text(seconds) == text


@pytest.mark.parametrize("seconds", [0, -1, 0.5, 1.000001, float("nan"), float("inf"), 1e18])
def test_what_is_no_interval_of_redbike(seconds: float) -> None:
    """Fractions of a second, 0 and less have no text."""
    assert interval_text(seconds) is None
    assert interval_text(seconds, NOW) is None
    assert relative_text(seconds, NOW) is None


@pytest.mark.parametrize("seconds", [1, 10, 59, 60, 300, 3600, 4 * 3600, 86_400, 3 * 86_400])
@pytest.mark.parametrize("zone", ZONES)
def test_a_relative_interval_runs_when_celery_runs_it(seconds: int, zone: str) -> None:
    """The text has the runs of Celery's chain, whose runs begin a little after their times."""
    app = Celery(set_as_current=False, timezone=zone)
    asked = schedule(seconds, relative=True, app=app)
    text, needs = written(asked, app, NOW)
    assert needs is None
    assert relative_interval(text) == (seconds, zone)
    last, wanted = datetime.fromtimestamp(NOW, ZoneInfo(zone)), []
    for _ in range(5):
        asked.nowfun = lambda last=last: last
        run = (last.astimezone(UTC) + asked.remaining_estimate(last)).astimezone(ZoneInfo(zone))
        wanted.append(run.timestamp())
        last = run + timedelta(milliseconds=3)
    assert runs_of(text, NOW, 5) == wanted
    back = restored(text, None, OTHER)
    assert (back.run_every, back.relative, back.tz.key) == (timedelta(seconds=seconds), True, zone)
    assert is_same(written(back, OTHER, NOW + 5e6).text, None, asked, app)


def test_a_relative_interval_of_parts_asks_celery() -> None:
    """90 minutes are rounded down to the hour: no text says that, so Celery is asked for each run."""
    text, needs = written(schedule(5400, relative=True), APP, NOW)
    assert (text, needs) == ("CONTINUE", {"every": 5400.0, "relative": True, "zone": "Europe/Berlin"})
    back = restored(text, json.loads(json.dumps(needs)), OTHER)
    assert next_after(back, at("2026-09-21T16:13+02:00")) == at("2026-09-21T17:00+02:00")
    assert next_after(back, at("2026-09-21T17:00+02:00")) == at("2026-09-21T18:00+02:00")


GIVEN: tuple[tuple[Any, str], ...] = (
    (10, "EVERY:10s"),
    (timedelta(minutes=5), "EVERY:5m"),
    (schedule(3600.0), "EVERY:1h"),
    (crontab(minute="*/5"), "CRON:*/5 * * * * Europe/Berlin"),
    (crontab(minute={0, 30}, hour="22-2"), "CRON:0,30 0-2,22,23 * * * Europe/Berlin"),
    (RedbikeSchedule("CRON:0 9 * * mon#1 America/New_York"), "CRON:0 9 * * mon#1 America/New_York"),
    (RedbikeSchedule("NOW"), "NOW"),
    (
        rrule("monthly", dtstart=datetime(2026, 1, 1, 9, tzinfo=BERLIN), byweekday=[MO(2), FR(-1)], count=9),
        "DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=MONTHLY;INTERVAL=1;COUNT=9;BYDAY=+2MO,-1FR;WKST=MO",
    ),
    (
        redbeat.schedules.rrule("MONTHLY", dtstart=datetime(2026, 1, 1, 9, tzinfo=BERLIN), byweekday=MO(2), app=APP),
        "DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=MONTHLY;INTERVAL=1;BYDAY=+2MO;WKST=MO",
    ),
    (
        rrule("WEEKLY", dtstart=datetime(2026, 1, 1, 8), until=datetime(2026, 6, 1, tzinfo=UTC), wkst=6, byeaster=[1]),
        "DTSTART;TZID=Europe/Berlin:20260101T090000\n"
        "RRULE:FREQ=WEEKLY;INTERVAL=1;UNTIL=20260601T000000Z;BYEASTER=1;WKST=SU",
    ),
)


@pytest.mark.parametrize(("asked", "text"), GIVEN, ids=[text.partition(";")[0] for _, text in GIVEN])
def test_a_schedule_has_a_text_and_a_way_back(asked: Any, text: str) -> None:
    """The text says all of the schedule, and an app with another timezone reads the same from it."""
    assert written(asked, APP, NOW) == Written(text, None)
    back = restored(text, None, OTHER)
    assert written(back, OTHER, NOW) == Written(text, None)
    assert is_same(f"PAUSED:{text}", None, asked, APP)
    assert written(restored(f"PAUSED:{text}", None, OTHER), OTHER, NOW).text == text
    if isinstance(asked, BaseSchedule) and not isinstance(asked, redbeat.schedules.rrule):
        assert type(back) is type(asked)
        assert back == asked
    if isinstance(back, crontab | rrule):
        due = read(text).again(NOW).due_at
        assert next_after(back, MOMENT) == (None if due is None else datetime.fromtimestamp(due, UTC))


def test_intervals_rrules_and_crontabs_are_never_mixed_up() -> None:
    """An rrule of ten seconds, a relative interval and a plain one have three texts, and come back as they were."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    every = written(timedelta(days=1), APP, NOW).text
    relative = written(schedule(86_400, relative=True), APP, NOW).text
    ruled = written(rrule("DAILY", dtstart=start), APP, NOW).text
    assert len({every, relative, ruled}) == 3
    kinds = [restored(text, None, APP) for text in (read(every).first(NOW).registered, relative, ruled)]
    assert [type(kind) for kind in kinds] == [schedule, schedule, rrule]
    assert [getattr(kind, "relative", None) for kind in kinds] == [False, True, None]
    assert not is_same(every, None, schedule(86_400, relative=True), APP)
    assert not is_same(every, None, schedule(86_401), APP)
    assert not is_same(ruled, None, rrule("DAILY", dtstart=start + timedelta(days=1)), APP)


def test_a_schedule_is_recognised_in_other_words() -> None:
    """A text of another program that says the schedule of the application is the same. A bad text is not."""
    utc = Celery(set_as_current=False)
    assert is_same("CRON:@daily", None, crontab(0, 0), utc)
    assert is_same("CRON:0 0 * * * Europe/Berlin", None, crontab("0", "0"), APP)
    assert not is_same("CRON:@daily", None, crontab(0, 0), APP)
    assert is_same("EVERY:60", None, 60, APP)
    assert is_same("DTSTART:20260101\\nRRULE:FREQ=DAILY", None, rrule("DAILY", dtstart=datetime(2026, 1, 1)), utc)
    assert not is_same("nonsense", None, 60, APP)
    assert not is_same("CONTINUE", {"every": 0.5}, 60, APP)
    assert not is_same("CONTINUE", None, 0.5, APP)
    assert is_same("CONTINUE", {"every": 0.5}, 0.5, APP)
    assert type(restored("DTSTART:2026-01-01T09:00:00+05:30 RRULE:FREQ=DAILY", None, APP)) is RedbikeSchedule


def test_a_crontab_keeps_its_zone_in_an_app_of_another_timezone() -> None:
    """Nine o'clock in Berlin stays nine o'clock in Berlin, for Celery too."""
    back = restored("CRON:0 9 * * * Europe/Berlin", None, OTHER)
    assert (type(back), back.tz) == (crontab, BERLIN)
    moment = MOMENT.astimezone(BERLIN)
    back.nowfun = lambda: moment
    assert MOMENT + back.remaining_estimate(moment) == at("2026-09-22T09:00+02:00")


@pytest.mark.parametrize(
    ("seconds", "begin", "wanted"),
    [
        (0.5, "10:00:00.000", "10:00:00.500"),
        (2.5, "10:00:01.250", "10:00:03.750"),
        (0.1, "10:00:00.700", "10:00:00.800"),
    ],
)
def test_fractions_of_a_second_keep_their_rhythm(seconds: float, begin: str, wanted: str) -> None:
    """The next run counts from the last planned run: a run that begins late does not move it."""
    text, needs = written(seconds, APP, NOW)
    assert (text, needs) == ("CONTINUE", {"every": seconds})
    back = restored(text, json.loads(json.dumps(needs)), APP)
    assert back.run_every == timedelta(seconds=seconds)
    planned = at(f"2026-01-01T{begin}+00:00")
    assert next_after(back, planned) == at(f"2026-01-01T{wanted}+00:00")
    late = planned + timedelta(seconds=7 * seconds + 0.01)
    assert next_after(back, late, rhythm=planned) == planned + timedelta(seconds=8 * seconds)


def test_an_interval_of_nothing_runs_at_once() -> None:
    """Celery runs an interval of 0 or less at each tick."""
    for seconds in (0, -5):
        back = restored(*written(seconds, APP, NOW), APP)
        found = next_after(back, MOMENT)
        assert found is not None
        assert timedelta() < found - MOMENT < timedelta(milliseconds=1)


def test_an_own_class_that_says_no_run_is_named() -> None:
    """A class that asks to be asked without end raises an error with its name, after half a second."""
    with pytest.raises(Endless, match="Forever: says no run up to"):
        next_after(Forever(), MOMENT)


@pytest.mark.parametrize(
    ("own", "after", "wanted"),
    [
        (Odd(30, ["a", "b"]), "2026-01-01T10:00:17+01:00", "2026-01-01T11:30+01:00"),
        (OfficeHours(3600), "2026-01-01T09:10+01:00", "2026-01-01T10:10+01:00"),
        (OfficeHours(3600), "2026-01-01T17:30+01:00", "2026-01-02T08:00+01:00"),
        (OwnClock(42.5), "2026-01-01T00:00+00:00", "2026-01-01T00:00:42.5+00:00"),
        (OwnClock(None), "2026-01-01T00:00+00:00", None),
        (Always(), "2026-01-01T00:00+00:00", "2026-01-01T00:00:05+00:00"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseSchedule) else None,
)
def test_an_own_class_is_made_again_and_asked(own: Any, after: str, wanted: str | None) -> None:
    """A class of the application travels by its name and its pickle's arguments, and says the next run itself."""
    text, needs = written(own, APP, NOW)
    assert text == "CONTINUE"
    back = restored(text, json.loads(json.dumps(needs)), APP)
    assert type(back) is type(own)
    assert written(back, APP, NOW) == Written(text, needs)
    before = dict(vars(back))
    assert next_after(back, at(after)) == (None if wanted is None else at(wanted))
    assert {**vars(back), "tz": None} == {**before, "tz": None}, "another thread may use the schedule"


def test_an_event_of_the_sun() -> None:
    """A solar event is made again from its three arguments. Without ephem, the error names it."""
    try:
        sun = solar("sunrise", 52.5, 13.4)
    except Exception:
        with pytest.raises(ValueError, match="ephem"):
            restored("CONTINUE", {"solar": ["sunrise", 52.5, 13.4]}, APP)
        pytest.skip("ephem is not installed")
    text, needs = written(sun, APP, NOW)
    assert (text, needs) == ("CONTINUE", {"solar": ["sunrise", 52.5, 13.4]})
    back = restored(text, needs, APP)
    first = next_after(back, at("2026-05-20T00:00+00:00"))
    assert first is not None
    assert f"{first:%d %H:%M}" == "20 03:03"
    assert f"{next_after(back, first):%d %H:%M}" == "21 03:01"


def test_a_text_of_redbike_answers_celery() -> None:
    """Celery's own beat could run any schedule text: it is due after its time, and has none after the last run."""
    asked = RedbikeSchedule("CRON:0 9 * * mon Europe/Berlin", nowfun=lambda: at("2026-09-21T10:00+02:00"), app=APP)
    assert asked.is_due(at("2026-09-20T10:00+02:00")) == (True, 7 * 86_400 - 3600)
    assert asked.is_due(at("2026-09-21T09:00+02:00")) == (False, 7 * 86_400 - 3600)
    assert asked.remaining_estimate(at("2026-09-20T10:00+02:00")) == timedelta(hours=-1)
    over = RedbikeSchedule("AT:2026-01-01", nowfun=lambda: MOMENT, app=APP)
    assert over.is_due(MOMENT) == (False, None)
    assert over.remaining_estimate(MOMENT) is None
    assert next_after(over, MOMENT) is None
    for sent in (asked, RedbikeSchedule("EVERY:5m"), rrule("DAILY", dtstart=MOMENT)):
        sent.nowfun = None
        assert pickle.loads(pickle.dumps(sent)) == sent
    assert RedbikeSchedule("EVERY:5m") != RedbikeSchedule("EVERY:6m")
    assert repr(RedbikeSchedule("EVERY:5m")) == "<schedule: 'EVERY:5m'>"
    assert repr(rrule("DAILY", dtstart=datetime(2026, 1, 1), count=2)) == (
        "<rrule: freq='DAILY', dtstart=datetime.datetime(2026, 1, 1, 0, 0), interval=1, count=2>"
    )


def local_class() -> Any:
    class Local(BaseSchedule):
        pass

    return Local()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: written("0 9 * * *", APP, NOW),
            "is not a schedule of Celery: give seconds, a timedelta, a crontab, or redbike",
        ),
        (lambda: written(schedule(), APP, NOW), "schedule schedule() has no interval: give seconds or a timedelta"),
        (lambda: written(local_class(), APP, NOW), "cannot be imported by its name: put it at the top of a module"),
        (
            lambda: written(Odd(1, [{1, 2}]), APP, NOW),
            "{1, 2} is not JSON: let its __reduce__ return (class, arguments)",
        ),
        (lambda: written(OfficeHours(5, nowfun=datetime.now), APP, NOW), "is not JSON: let its __reduce__ return"),
        (
            lambda: written(crontab(), Celery(set_as_current=False, timezone="EST"), NOW),
            "write the zone of a place, such as America/",
        ),
        (lambda: RedbikeSchedule("every day"), "is none of NOW, AT:TIME"),
        (lambda: RedbikeSchedule(5), "schedule 5 is not a text: write a text such as 'EVERY:10s'"),
        (lambda: rrule("OFTEN"), "rrule: freq='OFTEN' is not known: give one of YEARLY, MONTHLY"),
        (lambda: rrule("DAILY", bymonth=13), "rrule: BYMONTH='13' is out of range; allowed are numbers from 1 to 12"),
        (lambda: rrule("DAILY", byhour=[]), "rrule: byhour=[] is empty: leave it out"),
        (lambda: rrule("DAILY", byhour=["9"]), "rrule: byhour='9' is not a whole number"),
        (
            lambda: rrule("DAILY", byweekday="XX"),
            "rrule: byweekday='XX' is not a weekday: give a number from 0 for Monday",
        ),
        (lambda: restored("nonsense", None, APP), "schedule 'nonsense' is none of"),
        (lambda: restored("CONTINUE", {}, APP), "it names none of 'every', 'solar' and 'class'"),
        (lambda: restored("CONTINUE", {"every": "x"}, APP), "schedule {'every': 'x'}: "),
        (lambda: restored("CONTINUE", {"class": "os:getcwd", "args": []}, APP), "os:getcwd is not a schedule class"),
        (
            lambda: restored("CONTINUE", {"class": "collections:Counter"}, APP),
            "collections:Counter is not a schedule",
        ),
        (
            lambda: restored("CONTINUE", {"class": "no.such:Thing"}, APP),
            "no.such:Thing is not a schedule class that can be",
        ),
    ],
)
def test_what_cannot_be_written_or_read_is_named(make: Callable[[], Any], reason: str) -> None:
    """The error names the thing, its value and the way out."""
    with pytest.raises(ValueError) as caught:
        make()
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_timezone_without_a_name_is_refused() -> None:
    """A crontab in the zone of the machine, of which only the offset is known, would be wrong after a clock change."""
    app = Celery(set_as_current=False)
    app.timezone = LocalTimezone()
    with pytest.raises(
        ValueError, match="has no IANA name: set one in the configuration of Celery, such as timezone ="
    ):
        written(crontab(), app, NOW)
    assert written(10, app, NOW).text == "EVERY:10s"
