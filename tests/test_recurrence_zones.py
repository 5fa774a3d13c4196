"""Recurrences on a zone's wall clock: what happens when the clock is set forward or back, found by brute force."""

import re
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from helpers import ROOT, utc
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrence_oracle import random_rule, stamp

from redbike.schedule.rrule.errors import BadRecurrence
from redbike.schedule.rrule.recurrence import Recurrence

HOUR, DAY = 3600, 86_400
# Zone, and the years whose changes are tested.
ZONES = {
    "America/New_York": (2025, 2026),
    "Europe/Berlin": (2025, 2026),
    "Australia/Lord_Howe": (2025, 2026),
    "Africa/Casablanca": (2025, 2026),
    "Pacific/Apia": (2010, 2011, 2012),
    "America/St_Johns": (1988, 2006, 2026),
    "Europe/Dublin": (1971, 2026),
    "Asia/Tehran": (2022,),
    "America/Caracas": (2007, 2016),
}
ONCE = (
    "FREQ=DAILY",
    "FREQ=DAILY;BYHOUR=0,1,2,3;BYMINUTE=0,15,30,45",
    "FREQ=DAILY;INTERVAL=2;BYHOUR=2;BYMINUTE=30",
    "FREQ=WEEKLY;BYDAY=SA,SU;BYHOUR=1,2,3;BYMINUTE=59",
    "FREQ=MONTHLY;BYMONTHDAY=-1,8,28,29,30,31;BYHOUR=2;BYMINUTE=5",
    "FREQ=YEARLY;BYDAY=SU;BYHOUR=1,2;BYMINUTE=30;BYSETPOS=1,2,3,20,-20,-19,-18,-17",
)
AT_EVERY_SHOWING = (
    "FREQ=HOURLY",
    "FREQ=HOURLY;INTERVAL=6",
    "FREQ=HOURLY;BYHOUR=2;BYMINUTE=0,30",
    "FREQ=HOURLY;INTERVAL=5;BYMINUTE=10,50;BYSETPOS=-1",
    "FREQ=MINUTELY;INTERVAL=45",
    "FREQ=MINUTELY;INTERVAL=20;BYDAY=SU",
    "FREQ=MINUTELY;INTERVAL=7;BYHOUR=1,2,3",
    "FREQ=SECONDLY;INTERVAL=1000;BYHOUR=0,1,2,3,23",
)


def changes(zone, year):
    """Yield the instants of a year at which the zone's offset changes, with both offsets."""
    tz, found = ZoneInfo(zone), []

    def offset(instant):
        return int(datetime.fromtimestamp(instant, tz).utcoffset().total_seconds())

    for hour in range(utc(year, 1, 1), utc(year + 1, 1, 1), HOUR):
        if offset(hour) != offset(hour + HOUR):
            instant = next(at for at in range(hour + 1, hour + HOUR + 1) if offset(at) != offset(hour))
            found.append((instant, offset(hour), offset(instant)))
    return found


ALL_CHANGES = [
    pytest.param(zone, instant, id=f"{zone}-{datetime.fromtimestamp(instant, UTC):%Y%m%d}")
    for zone, years in ZONES.items()
    for year in years
    for instant, _, _ in changes(zone, year)
]


def wall_times(rule, start, end):
    """Return the times of python-dateutil on a clock without zones."""
    runs = []
    for moment in rrulestr(rule, dtstart=start):
        if moment > end:
            break
        runs.append(moment)
    return runs


def expected_once(zone, walls):
    """Each wall time once: the first of two, and with the offset before the gap where there is none."""
    tz = ZoneInfo(zone)
    return sorted({int(wall.replace(tzinfo=tz, fold=0).timestamp()) for wall in walls})


def expected_at_every_showing(zone, walls):
    """Each wall time whenever the clock shows it."""
    tz, runs = ZoneInfo(zone), set()
    for wall in walls:
        for fold in (0, 1):
            instant = int(wall.replace(tzinfo=tz, fold=fold).timestamp())
            if datetime.fromtimestamp(instant, tz).replace(tzinfo=None) == wall:
                runs.add(instant)
    return sorted(runs)


def check_around(zone, change, rule, expected_of):
    tz = ZoneInfo(zone)
    around = datetime.fromtimestamp(change, tz).replace(tzinfo=None, minute=0, second=0)
    start, end = around - timedelta(days=9, minutes=-30), around + timedelta(days=9)
    expected = expected_of(zone, wall_times(rule, start, end))
    recurrence = Recurrence(f"DTSTART;TZID={zone}:{stamp(start)}\nRRULE:{rule}")
    first, last = change - 4 * DAY, change + 4 * DAY
    runs = [run for run in expected if first < run <= last]
    chain, at = [], first
    while (at := recurrence.after(at)) is not None and at <= last:
        chain.append(at)
    assert chain == runs, f"{zone} {rule}: the chain of runs differs"
    for reference in range(change - 2 * DAY, change + 2 * DAY, 599):
        index = bisect_right(expected, reference)
        if index < len(expected):
            assert recurrence.after(reference) == expected[index], f"{zone} {rule} after {reference}"


@pytest.mark.parametrize(("zone", "change"), ALL_CHANGES)
@pytest.mark.parametrize("rule", ONCE)
def test_daily_and_slower_rules_fire_once_per_occurrence(zone, change, rule):
    """Around every change of several zones, each wall time of a daily or slower rule gives exactly one run."""
    check_around(zone, change, rule, expected_once)


@pytest.mark.parametrize(("zone", "change"), ALL_CHANGES)
@pytest.mark.parametrize("rule", AT_EVERY_SHOWING)
def test_faster_rules_fire_whenever_the_clock_shows_the_time(zone, change, rule):
    """Around every change of several zones, a rule faster than daily runs twice, once or never at a wall time."""
    check_around(zone, change, rule, expected_at_every_showing)


DOCUMENTED = ROOT / "docs" / "recurrence.md"


def documented_runs():
    """The rows of the two tables in the documentation: day, rule, the runs given in its second column, in UTC."""
    day = None
    for line in DOCUMENTED.read_text().splitlines():
        if heading := re.match(r"### .*(\d{4})-(\d\d)-(\d\d)", line):
            day = tuple(int(number) for number in heading.groups())
        elif row := re.match(r"\| `(FREQ=[^`]*)` \| ([^|]*) \|", line):
            yield pytest.param(day, row[1], row[2].strip(), id=f"{day}-{row[1]}")


@pytest.mark.parametrize(("day", "rule", "runs"), list(documented_runs()))
def test_the_tables_of_the_documentation_hold(day, rule, runs):
    """Each row of the tables for a spring and an autumn day in New York is true."""
    recurrence = Recurrence(f"DTSTART;TZID=America/New_York:20260101T000000\nRRULE:{rule}")
    found, at = [], utc(*day, 4, 59, 59) - (HOUR if day[1] == 11 else 0)
    end = utc(*day, 12, 0, 0)
    while (at := recurrence.after(at)) < end:
        found.append(f"{datetime.fromtimestamp(at, UTC):%H:%M}")
    assert ", ".join(found) == runs


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**48), st.sampled_from(sorted(ZONES)))
def test_no_run_is_given_twice_or_skipped_in_a_chain(seed, zone):
    """Where each answer is the next reference time, thousands of runs come in order, and none lies in between."""
    rng = Random(seed)
    start = datetime(rng.choice(ZONES[zone]), rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23))
    text = f"DTSTART;TZID={zone}:{stamp(start)}\nRRULE:{random_rule(rng, ends=False)}"
    try:
        walking, runs = Recurrence(text), [Recurrence(text).after(0)]
        while runs[-1] is not None and len(runs) < 2_000:
            runs.append(walking.after(runs[-1]))
    except BadRecurrence:
        return
    for earlier, later in pairwise(runs):
        assert later is None or earlier < later
    asked_directly = Recurrence(text)
    for index in rng.sample(range(1, len(runs)), min(100, len(runs) - 1)):
        end = runs[index] if runs[index] is not None else runs[index - 1] + 10**9
        reference = rng.randint(runs[index - 1], end - 1)
        assert asked_directly.after(reference) == runs[index], f"{text!r} after {reference}"


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Apia"])
def test_an_hourly_rule_runs_once_every_real_hour(zone):
    """Through both changes of several years, and through a day left out, hourly runs are 3600 s apart."""
    at = Recurrence(f"DTSTART;TZID={zone}:20100101T000000\nRRULE:FREQ=HOURLY").after(0)
    recurrence = Recurrence(f"DTSTART;TZID={zone}:20100101T000000\nRRULE:FREQ=HOURLY")
    for _ in range(3 * 8_766):
        assert recurrence.after(at) == at + HOUR
        at += HOUR


def test_count_counts_runs_and_until_is_an_instant():
    """COUNT counts the repeated hour twice and the missing one not at all; UNTIL in UTC ends in between."""
    spring = "DTSTART;TZID=America/New_York:20260308T000000\nRRULE:FREQ=HOURLY"
    autumn = "DTSTART;TZID=America/New_York:20261101T000000\nRRULE:FREQ=HOURLY"
    assert chain(f"{spring};COUNT=4") == [utc(2026, 3, 8, hour) for hour in (5, 6, 7, 8)]
    assert chain(f"{autumn};COUNT=4") == [utc(2026, 11, 1, hour) for hour in (4, 5, 6, 7)]
    assert chain(f"{autumn};UNTIL=20261101T053000Z") == [utc(2026, 11, 1, hour) for hour in (4, 5)]
    assert chain(f"{autumn};UNTIL=20261101T020000") == [utc(2026, 11, 1, hour) for hour in (4, 5, 6, 7)]


def chain(text):
    recurrence, runs = Recurrence(text), [0]
    while (at := recurrence.after(runs[-1])) is not None:
        runs.append(at)
    return runs[1:]
