"""Celery's crontabs as schedule texts: the same fields, the same runs, and back.

`REDBIKE_CRONTABS=5000 python -m pytest tests/test_celery_crontabs.py` compares this number of crontabs with Celery.
"""

import os
import random
import subprocess
import sys
from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import celery.utils.time
import pytest
from celery import Celery
from celery.schedules import crontab
from chains import runs_of
from hypothesis import given, settings
from hypothesis import strategies as st

from redbike.bridges.celery.crontabs import crontab_fields, crontab_text

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
BOUNDS = {"minute": (0, 59), "hour": (0, 23), "day_of_week": (0, 6), "day_of_month": (1, 31), "month_of_year": (1, 12)}
NAMES = {
    "day_of_week": ("sun", "monday", "Tue", "wed", "thu", "fri", "saturday"),
    "month_of_year": ("jan", "may", "Dec"),
}
OF_MONTHS = "jab" if hasattr(celery.utils.time, "yearmonth") else ""
"""Letters that make names of months. Old versions of Celery do not know these names."""
COUNT = int(os.environ.get("REDBIKE_CRONTABS", "1500"))


def random_field(random: random.Random, name: str) -> Any:
    """Return a field in one of the forms that Celery accepts; it often restricts nothing."""
    first, last = BOUNDS[name]
    names = NAMES.get(name, ())

    def number() -> str:
        return random.choice(names) if names and random.random() < 0.3 else str(random.randint(first, last))

    def step() -> str:
        return f"/{random.choice((1, 2, 3, 5, 7, 10, 15, 25, 70))}"

    def part() -> str:
        forms: tuple[Callable[[], str], ...] = (
            lambda: "*" + step(),
            number,
            lambda: f"{number()}-{number()}",
            lambda: f"{number()}-{number()}{step()}",
        )
        return random.choice(forms)()

    kind = random.random()
    if kind < 0.35:
        return "*"
    if kind < 0.45:
        return random.randint(first, last)
    if kind < 0.55:
        return {random.randint(first, last) for _ in range(random.randint(1, 6))}
    if kind < 0.6:
        return sorted(random.sample(range(first, last + 1), random.randint(1, last - first + 1)))
    return ",".join(part() for _ in range(random.choice((1, 1, 1, 2, 3))))


def random_crontabs(seed: int, count: int) -> Iterator[tuple[dict[str, Any], str, float]]:
    """Yield the fields of crontabs that Celery accepts, a zone, and a time between 2021 and 2037."""
    generator = random.Random(seed)
    while count:
        fields = {name: random_field(generator, name) for name in BOUNDS}
        if generator.random() < 0.3:
            fields["day_of_week"] = "*"
        try:
            asked = crontab(**fields)
        except ValueError:
            continue  # the 31st of February
        if min(asked.day_of_month) > max(monthrange(2024, month)[1] for month in asked.month_of_year):
            continue  # an old Celery accepts it, and never ends
        count -= 1
        yield fields, ZONES[count % len(ZONES)], generator.uniform(1_610_000_000, 2_120_000_000)


def celerys_next(schedule: crontab, last: datetime) -> datetime:
    """Return the run that follows the last run in Celery's beat."""
    schedule.nowfun = lambda: last
    remaining: timedelta = schedule.remaining_estimate(last)
    return (last.astimezone(UTC) + remaining).astimezone(last.tzinfo)


def is_near_a_clock_change(moment: datetime) -> bool:
    instant, zone = moment.astimezone(UTC), moment.tzinfo
    day = timedelta(days=1)
    return len({(instant + near).astimezone(zone).utcoffset() for near in (-day, timedelta(), day)}) > 1


def test_random_crontabs_run_when_celery_runs_them() -> None:
    """Each of the next runs is that of Celery's crontab, in four zones, except within a day of a clock change."""
    apps = {zone: Celery(set_as_current=False, timezone=zone) for zone in ZONES}
    compared = recurrences = 0
    for fields, zone, begin in random_crontabs(13, COUNT):
        schedule = crontab(**fields, app=apps[zone])
        text = crontab_text(**fields, zone=zone)
        recurrences += text.startswith("DTSTART")
        last = datetime.fromtimestamp(int(begin), ZoneInfo(zone))
        for _ in range(6):
            following = celerys_next(schedule, last)
            if following.year > 2060:
                break  # the zones of the database repeat from 2038 on; Redbike looks 50 years ahead
            # Old versions of Celery are wrong by the change of the clock, until they are asked again after it.
            if last.utcoffset() == following.utcoffset() and not is_near_a_clock_change(following):
                assert runs_of(text, last.timestamp(), 1) == [following.timestamp()], (fields, text, last)
                compared += 1
            last = following
    assert compared > COUNT * 3
    assert recurrences > COUNT // 20


def test_the_way_back_is_without_loss() -> None:
    """The fields that the text says make Celery run at the same times, and make the same text."""
    for fields, zone, _ in random_crontabs(14, 1_000):
        text = crontab_text(**fields, zone=zone)
        found = crontab_fields(text)
        assert found is not None
        assert found["zone"] == zone
        assert crontab_text(**found) == text
        del found["zone"]
        assert crontab(**found) == crontab(**fields)
        for name, value in fields.items():  # kept as written, where a text needs no change
            if text.startswith("CRON:") and value in text.split() and isinstance(value, str):
                assert found[name] == value or found[name] in text.split()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(BOUNDS)), st.text(f"0123456789-/*,_ LW#monfritue{OF_MONTHS}", min_size=1, max_size=9))
def test_a_field_is_read_as_celery_reads_it(name: str, value: str) -> None:
    """A text in any field is refused if Celery refuses it, and means the same numbers otherwise."""
    first, last = BOUNDS[name]
    try:
        wanted = crontab._expand_cronspec(value, last - first + 1, first)
    except Exception:
        with pytest.raises(ValueError, match=f"crontab: {name}="):
            crontab_text(**{**dict.fromkeys(BOUNDS, "*"), name: value})
        return
    found = crontab_fields(crontab_text(**{**dict.fromkeys(BOUNDS, "*"), name: value}))
    assert found is not None
    assert crontab._expand_cronspec(found[name], last - first + 1, first) == set(wanted)


WRITTEN: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "CRON:* * * * *"),
    ({"minute": "*/15", "hour": "8-17", "day_of_week": "mon-fri"}, "CRON:*/15 8-17 * * mon-fri"),
    ({"minute": 0, "hour": "22-4"}, "CRON:0 0-4,22,23 * * *"),
    ({"minute": "0", "hour": "0", "day_of_week": "fri-mon"}, "CRON:0 0 * * 0,1,5,6"),
    ({"minute": "0", "hour": "0", "day_of_week": "monday"}, "CRON:0 0 * * 1"),
    ({"minute": "5", "hour": "mon"}, "CRON:5 1 * * *"),
    ({"minute": {30, 0}, "hour": [1, 2, 3]}, "CRON:0,30 1-3 * * *"),
    ({"minute": range(60), "hour": "0-23"}, "CRON:* * * * *"),
    ({"minute": "0,30," * 300 + "0"}, "CRON:0,30 * * * *"),
    ({"minute": 0, "hour": 0, "day_of_month": "1-31", "day_of_week": "sun"}, "CRON:0 0 * * sun"),
    ({"minute": 0, "hour": 0, "day_of_month": "*/2", "day_of_week": "sun"}, "CRON:0 0 */2 * sun"),
    ({"minute": 0, "hour": 0, "day_of_month": 1, "day_of_week": "*/2"}, "CRON:0 0 1 * */2"),
)


@pytest.mark.parametrize(("fields", "text"), WRITTEN, ids=lambda value: value if isinstance(value, str) else "")
def test_fields_are_kept_as_written_where_they_mean_the_same(fields: dict[str, Any], text: str) -> None:
    """What cron reads as Celery does is kept. Ranges that wrap, other names and collections become numbers."""
    assert crontab_text(**{**dict.fromkeys(BOUNDS, "*"), **fields}) == text
    assert crontab_text(**{**dict.fromkeys(BOUNDS, "*"), **fields}, zone="Europe/Berlin") == f"{text} Europe/Berlin"


def test_two_day_fields_must_both_match() -> None:
    """Celery runs on each Friday the 13th where cron runs on each 13th and each Friday: the text is a recurrence."""
    text = crontab_text(30, 8, "fri", 13, "*", "Europe/Berlin")
    assert text == (
        "DTSTART;TZID=Europe/Berlin:20000101T000000\n"
        "RRULE:FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=8;BYMINUTE=30;BYSECOND=0"
    )
    begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    runs = [datetime.fromtimestamp(run, ZoneInfo("Europe/Berlin")) for run in runs_of(text, begin, 4)]
    assert [f"{run:%Y-%m-%d %H:%M}" for run in runs] == [
        "2026-02-13 08:30",
        "2026-03-13 08:30",
        "2026-11-13 08:30",
        "2027-08-13 08:30",
    ]
    fields = crontab_fields(text)
    assert fields is not None
    assert (fields["day_of_month"], fields["day_of_week"], fields["zone"]) == ("13", "5", "Europe/Berlin")


def test_a_wildcard_follows_the_clock_also_in_a_recurrence() -> None:
    """In the hour that the clock shows twice, a crontab of every half hour runs four times, and a fixed one once."""
    begin = datetime(2026, 10, 24, 23, 59, tzinfo=UTC).timestamp()  # 01:59 in Berlin; the clock goes back at 01:00 UTC
    wild = crontab_text("*/30", 2, "sun", "25-31", "*", "Europe/Berlin")
    fixed = crontab_text("0,30", 2, "sun", "25-31", "*", "Europe/Berlin")
    assert [int(run - begin) // 60 for run in runs_of(wild, begin, 4)] == [1, 31, 61, 91]
    assert [int(run - begin) // 60 for run in runs_of(fixed, begin, 2)] == [1, 31]
    assert runs_of(fixed, begin + 31 * 60, 1)[0] > begin + 86_400
    for text in (wild, fixed):
        fields = crontab_fields(text)
        assert fields is not None
        assert crontab_text(**fields) == text


@pytest.mark.parametrize(
    "text",
    [
        "CRON:0 0 L * *",
        "CRON:0 0 LW * *",
        "CRON:0 0 * * fri#2",
        "CRON:0 0 * * 5L",
        "CRON:0 0 13 * fri",
        "CRON:0 25 * * *",
        "EVERY:10s",
        "NOW",
        "DTSTART:20000101T000000\nRRULE:FREQ=DAILY",
        "DTSTART;TZID=Europe/Berlin:20000101T000000\nRRULE:FREQ=DAILY;BYMONTHDAY=40;BYDAY=FR;BYSECOND=0",
        "DTSTART;TZID=Nowhere:20000101T000000\nRRULE:FREQ=DAILY;BYMONTHDAY=4;BYDAY=FR;BYSECOND=0",
        "DTSTART;TZID=Europe/Berlin:20000101T000000\nRRULE:FREQ=DAILY;BYMONTHDAY=4;BYDAY=XX;BYSECOND=0",
    ],
)
def test_what_no_crontab_says(text: str) -> None:
    """Days from the end of a month, nth weekdays and either of two days have no crontab in Celery."""
    assert crontab_fields(text) is None


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("CRON:@daily", "0 0 * * * UTC"),
        ("CRON:CRON_TZ=europe/berlin 0 0 * * 5-7", "0 0 * * 0,5,6 Europe/Berlin"),
        ("CRON:13/20 9 * * * Asia/Tokyo", "13,33,53 9 * * * Asia/Tokyo"),
        ("CRON:0 0 1-31 * mon", "0 0 * * * UTC"),
    ],
)
def test_what_other_programs_write_has_a_crontab(text: str, fields: str) -> None:
    """An expression of cron that Celery writes in another way becomes the fields that mean the same."""
    found = crontab_fields(text)
    assert found is not None
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "zone")
    assert " ".join(found[name] for name in names) == fields


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hour": "25"}, "crontab: hour='25': '25' is out of range: write numbers from 0 to 23"),
        ({"hour": 24}, "crontab: hour=24: 24 is out of range: give numbers from 0 to 23"),
        (
            {"day_of_week": "7"},
            "crontab: day_of_week='7': '7' is out of range: write numbers from 0 to 6 (Sunday is 0)",
        ),
        ({"minute": "5/2"}, "crontab: minute='5/2': '5/2' is neither a number, nor the name of a month or weekday"),
        ({"minute": "*/0"}, "crontab: minute='*/0': the step '0' is not a number above 0: write a step such as */5"),
        ({"minute": []}, "crontab: minute=[] is empty: give '*' for each minute"),
        ({"minute": ["5"]}, "'5' is not a whole number: give numbers from 0 to 59, or a text such as '1,3-5'"),
        ({"minute": None}, "crontab: minute=None: give a text, a number, or several numbers"),
        (
            {"day_of_month": 31, "month_of_year": "jun"},
            "day_of_month=31 never occurs in month_of_year='jun': give another",
        ),
        ({"zone": "EST"}, "'EST' is an abbreviation, whose clock would never change: write the zone of a place"),
        ({"zone": "Berlin"}, "'Berlin' is not a time zone of the IANA database: write Europe/Berlin"),
    ],
)
def test_what_cannot_be_written_is_named(fields: dict[str, Any], reason: str) -> None:
    """The error names the field, its value and the way out."""
    with pytest.raises(ValueError) as caught:
        crontab_text(**{**dict.fromkeys(BOUNDS, "*"), **fields})
    assert reason in str(caught.value)


def test_the_texts_need_no_celery() -> None:
    """An importer of old stores writes them: it must not load Celery."""
    modules = ", ".join(f"redbike.bridges.celery.{name}" for name in ("crontabs", "intervals", "rrules"))
    code = f"import sys, {modules}; print({{'celery', 'kombu', 'rq'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
