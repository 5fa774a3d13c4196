"""RedBeat's rrule as a schedule text, and back: the runs of RedBeat's own, with zones and nth weekdays."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redbeat.schedules
from celery import Celery
from celery.schedules import crontab
from dateutil.rrule import FR, MO, TU, WE
from hypothesis import given, settings
from hypothesis import strategies as st

from redbike.bridges.celery.rrules import rrule_fields, rrule_text
from redbike.bridges.celery.schedules import RedbikeSchedule, next_after, restored, rrule, starts_now, written

NOW = 1_790_000_000.25  # 2026-09-21 16:13:20 in Berlin
MOMENT = datetime.fromtimestamp(NOW, UTC)
BERLIN = ZoneInfo("Europe/Berlin")
APP = Celery(set_as_current=False, timezone="Europe/Berlin")
OTHER = Celery(set_as_current=False, timezone="Asia/Tokyo")
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_an_rrule_keeps_zone_and_nth_weekdays() -> None:
    """RedBeat's store keeps the offset of a zone, and MO for MO(+2). The text keeps both, through clock changes."""
    rule = rrule("MONTHLY", dtstart=datetime(2026, 1, 1, 9, tzinfo=BERLIN), byweekday=MO(+2))
    back = restored(*written(rule, APP, NOW), OTHER)
    assert (back.byweekday, back.dtstart.tzinfo) == ([MO(+2)], BERLIN)
    found, moment = [], at("2026-09-20T00:00+00:00")
    for _ in range(3):
        moment = next_after(back, moment) or moment
        found.append(f"{moment:%m-%d %H}")
    assert found == ["10-12 07", "11-09 08", "12-14 08"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_an_rrule_runs_when_redbeat_runs_it(seed: int) -> None:
    """In UTC, the next runs are those of RedBeat's rrule with the same fields. The way back loses nothing."""
    chosen = random.Random(seed)
    fields: dict[str, Any] = {"freq": chosen.choice(FREQUENCIES), "interval": chosen.choice((1, 1, 2, 3))}
    fields["dtstart"] = datetime(2025, chosen.randint(1, 12), chosen.randint(1, 28), chosen.randint(0, 23), tzinfo=UTC)
    options: dict[str, Callable[[], Any]] = {
        "byweekday": lambda: chosen.sample([MO, TU(1), WE(-1), FR, 5], 2),
        "bymonth": lambda: chosen.randint(1, 12),
        "bymonthday": lambda: [chosen.randint(1, 28), -1],
        "byhour": lambda: [chosen.randint(0, 23), 12],
        "byminute": lambda: chosen.randint(0, 59),
        "count": lambda: chosen.randint(1, 400),
        "wkst": lambda: chosen.choice((0, 6, MO)),
    }
    for name in chosen.sample(sorted(options), 2):
        fields[name] = options[name]()
    if "count" not in fields:
        fields["until"] = datetime(2027, 3, 4, 5, 6, 7, tzinfo=UTC)
    try:
        theirs = redbeat.schedules.rrule(**fields, app=APP)
    except ValueError:
        with pytest.raises(ValueError, match="never reaches from its start"):
            rrule(**fields)
        return
    text, needs = written(theirs, APP, NOW)
    assert needs is None
    ours = rrule(**fields, app=APP)
    assert ours.text == text
    back = restored(text, needs, OTHER)
    assert (type(back), back == ours, written(back, OTHER, NOW).text) == (rrule, True, text)
    moment: datetime | None = at("2025-11-12T13:14:15+00:00")
    for _ in range(3):
        assert moment is not None
        wanted = theirs.rrule.after(moment)
        moment = next_after(back, moment)
        assert moment == wanted
        if moment is None:
            break


def test_an_rrule_without_start_is_recognised() -> None:
    """Ours remembers it. RedBeat's has the fraction of a second of its construction."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert starts_now(rrule("DAILY"))
    assert starts_now(redbeat.schedules.rrule("DAILY", app=APP, nowfun=lambda: MOMENT))
    assert not starts_now(rrule("DAILY", dtstart=start))
    assert not starts_now(redbeat.schedules.rrule("DAILY", dtstart=start, app=APP))
    assert not starts_now(crontab())
    begun = rrule("DAILY", nowfun=lambda: MOMENT)
    assert written(begun, APP, NOW).text.startswith("DTSTART;TZID=Europe/Berlin:20260921T161320\n")
    assert not starts_now(restored(written(begun, APP, NOW).text, None, APP))


@pytest.mark.parametrize(("offset_h", "zone"), [(0, "UTC"), (2, "Etc/GMT-2"), (-3, "Etc/GMT+3"), (5.5, None)])
def test_a_fixed_offset_of_an_rrule_is_a_zone_or_refused(offset_h: float, zone: str | None) -> None:
    """A fixed offset never changes with the clock of a place. An offset of half an hour has no zone."""
    start = datetime(2026, 7, 1, 9, tzinfo=timezone(timedelta(hours=offset_h)))
    if zone is None:
        with pytest.raises(ValueError, match="has no IANA name: give the moment the zone of a place, such as"):
            rrule("DAILY", dtstart=start)
        return
    rule = rrule("DAILY", dtstart=start)
    assert written(rule, APP, NOW).text == f"DTSTART;TZID={zone}:20260701T090000\nRRULE:FREQ=DAILY;INTERVAL=1;WKST=MO"
    assert next_after(restored(rule.text, None, OTHER), start) == start + timedelta(days=1)


@pytest.mark.parametrize(
    ("offset_h", "zone", "text"),
    [
        (2, "Europe/Berlin", "DTSTART;TZID=Europe/Berlin:20260701T090000"),
        (1, "Europe/Berlin", "DTSTART;TZID=Etc/GMT-1:20260701T090000"),
        (5.5, "Asia/Kolkata", "DTSTART;TZID=Asia/Kolkata:20260701T090000"),
        (0, "Europe/Berlin", "DTSTART;TZID=UTC:20260701T090000"),
        (0, "Africa/Abidjan", "DTSTART;TZID=Africa/Abidjan:20260701T090000"),
    ],
)
def test_a_store_that_keeps_only_the_offset_of_a_zone(offset_h: float, zone: str, text: str) -> None:
    """RedBeat's store keeps the offset of dtstart: the zone of the app is meant if it has this offset then."""
    fields = {"freq": 3, "dtstart": datetime(2026, 7, 1, 9, tzinfo=timezone(timedelta(hours=offset_h)))}
    assert rrule_text(fields, zone, stored=True).partition("\n")[0] == text


def test_weekdays_have_many_forms() -> None:
    """Numbers, weekdays of python-dateutil, texts, and the objects of RedBeat's store say the same weekday."""
    same: tuple[Any, ...] = (MO(2), [MO(2)], "MO(+2)", "2MO", "+2mo", {"wkday": 0, "n": 2}, [{"wkday": 0, "n": 2}])
    for days in same:
        text = rrule_text({"freq": 1, "dtstart": datetime(2026, 1, 1), "byweekday": days, "wkst": "SU"})
        assert text == "DTSTART;TZID=UTC:20260101T000000\nRRULE:FREQ=MONTHLY;INTERVAL=1;BYDAY=+2MO;WKST=SU"
    for days in (0, MO, "MO", {"wkday": 0}, {"wkday": 0, "n": None}):
        assert ";BYDAY=MO;" in rrule_text({"freq": 1, "dtstart": datetime(2026, 1, 1), "byweekday": days})


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY",
        "DTSTART:20260101\nRRULE:FREQ=DAILY\nEXDATE:20260102",
        "DTSTART:20260101\nRRULE:FREQ=DAILY\nRRULE:FREQ=HOURLY",
        "DTSTART:20260101\nRDATE:20260102",
        "DTSTART;TZID=Asia/Tokyo:20200101T000000\nRRULE:FREQ=DAILY;UNTIL=99991231T235959Z",
        "CRON:0 9 * * *",
        "NOW",
    ],
)
def test_what_no_rrule_says(text: str) -> None:
    """A rule without a start, several rules and further dates have no rrule."""
    assert rrule_fields(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "DTSTART;TZID=Asia/Tokyo:20200101T000000\nRRULE:FREQ=DAILY;UNTIL=99991231T235959Z",
        "DTSTART;TZID=America/New_York:20200101T000000\nRRULE:FREQ=DAILY;UNTIL=99991231T235959",
    ],
)
def test_an_end_outside_of_the_years_of_python_is_kept_as_text(text: str) -> None:
    """A recurrence whose UNTIL Python's datetimes cannot hold becomes no rrule, and keeps its text."""
    back = restored(text, None, OTHER)
    assert (type(back), back.text) == (RedbikeSchedule, text)


def test_an_rrule_of_another_program_is_read() -> None:
    """A recurrence at nine o'clock is an rrule, also without WKST: only at midnight could it be a relative interval."""
    back = restored("DTSTART;TZID=Europe/Berlin:20260101T090000\\nRRULE:FREQ=DAILY;INTERVAL=1", None, OTHER)
    assert (type(back), back.freq, back.dtstart) == (rrule, "DAILY", datetime(2026, 1, 1, 9, tzinfo=BERLIN))
    assert rrule_fields("DTSTART:20260101T090000 RRULE:FREQ=DAILY;UNTIL=20270101T000000;BYSETPOS=1;BYHOUR=2") == {
        "freq": "DAILY",
        "dtstart": datetime(2026, 1, 1, 9, tzinfo=ZoneInfo("UTC")),
        "interval": 1,
        "until": datetime(2027, 1, 1, tzinfo=ZoneInfo("UTC")),
        "bysetpos": [1],
        "byhour": [2],
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"dtstart": None}, "rrule: dtstart is missing: give the time of the first run"),
        ({"dtstart": 5}, "rrule: dtstart=5 is not a datetime: give a datetime with a zone"),
        ({"byday": 5}, "rrule: 'byday' is not a field of an rrule: known are freq, dtstart"),
        ({"interval": 0}, "rrule: INTERVAL='0' is out of range; allowed is 1 to"),
        (
            {"until": datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))},
            "is outside of the years 1 to 9999 in UTC",
        ),
        ({"freq": 7}, "rrule: freq=7 is not known: give one of YEARLY"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], reason: str) -> None:
    """The error names the field, its value and the way out."""
    with pytest.raises(ValueError) as caught:
        rrule_text({"freq": "DAILY", "dtstart": datetime(2026, 1, 1), **fields})
    assert reason in str(caught.value)
