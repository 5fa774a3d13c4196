"""Cron expressions: what the fields mean, and what a change of a zone's clock does to fixed times and to wildcards.

What is expected around a change is found by brute force: every minute on the wall, tried one by one.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest
from helpers import DAY_S
from hypothesis import given, settings
from hypothesis import strategies as st

from redbike.schedule import cron

CHANGES = {
    "New York, spring": ("America/New_York", datetime(2026, 3, 8, 7)),
    "New York, autumn": ("America/New_York", datetime(2026, 11, 1, 6)),
    "Berlin, spring": ("Europe/Berlin", datetime(2026, 3, 29, 1)),
    "Berlin, autumn": ("Europe/Berlin", datetime(2026, 10, 25, 1)),
    "Lord Howe, spring, half an hour": ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30)),
    "Lord Howe, autumn, half an hour": ("Australia/Lord_Howe", datetime(2026, 4, 4, 15)),
    "St. John's, spring": ("America/St_Johns", datetime(2026, 3, 8, 5, 30)),
    "St. John's, autumn": ("America/St_Johns", datetime(2026, 11, 1, 4, 30)),
    "St. John's, autumn, a minute after midnight": ("America/St_Johns", datetime(2006, 10, 29, 2, 31)),
    "Cairo, spring, at midnight": ("Africa/Cairo", datetime(2025, 4, 24, 22)),
}
"""A zone, and the instant of a change of its clock, in UTC."""

FIELDS = {
    # Minutes and hours as text, and their numbers.
    "30 2": ({30}, {2}),
    "0,30 2": ({0, 30}, {2}),
    "0 3": ({0}, {3}),
    "15,45 1-3": ({15, 45}, {1, 2, 3}),
    "5-59/6 0-23/2": (set(range(5, 60, 6)), set(range(0, 24, 2))),
    "50 1": ({50}, {1}),
    "0 0": ({0}, {0}),
    "1 23,0": ({1}, {23, 0}),
    "* *": (set(range(60)), set(range(24))),
    "*/10 3": (set(range(0, 60, 10)), {3}),
    "*/20 1,2": ({0, 20, 40}, {1, 2}),
    "0 *": ({0}, set(range(24))),
    "0 */3": ({0}, set(range(0, 24, 3))),
    "40 */2": ({40}, set(range(0, 24, 2))),
    "*/15 0": ({0, 15, 30, 45}, {0}),
}


def unix(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp())


def expected_runs(fields: str, zone: str, change: int) -> list[int]:
    """Return the runs of cron(8): a fixed time runs once around a change; wildcards follow the clock."""
    minutes, hours = FIELDS[fields]
    tz, runs = ZoneInfo(zone), set()
    wildcard = "*" in fields[0] + fields.split()[1][0]
    middle = datetime.fromtimestamp(change, tz).replace(tzinfo=None, minute=0)
    for minute in range(-48 * 60, 48 * 60):
        wall = middle + timedelta(minutes=minute)
        if wall.minute not in minutes or wall.hour not in hours:
            continue
        for fold in (0, 1) if wildcard else (0,):
            instant = int(wall.replace(tzinfo=tz, fold=fold).timestamp())
            if datetime.fromtimestamp(instant, tz).replace(tzinfo=None, fold=0) == wall:
                runs.add(instant)
            elif not wildcard:
                runs.add(change)
    return sorted(runs)


def chain(text: str, reference: float, end: float) -> Iterator[int]:
    """Yield the runs up to `end`, each found from the run before it."""
    expression = cron.parse(text)
    at = expression.after(reference)
    while at is not None and at <= end:
        yield at
        at = expression.after(at)


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("change", CHANGES)
def test_around_a_change_of_the_clock(change: str, fields: str) -> None:
    """Around a change, a job at fixed times runs once for what is skipped, as the clock is set, and not again in what
    is repeated, and a job with a wildcard for minute or hour runs whenever the clock shows its time."""
    zone, moment = CHANGES[change]
    at = unix(moment)
    expected = expected_runs(fields, zone, at)
    start, end = at - DAY_S, at + DAY_S
    text = f"{fields} * * * {zone}"
    assert list(chain(text, start, end)) == [run for run in expected if start < run <= end]
    expression = cron.parse(text)
    for reference in range(at - 3 * 3600, at + 3 * 3600, 617):
        assert expression.after(reference + 0.5) == expected[bisect_right(expected, reference)]


def test_the_changes_are_changes() -> None:
    """At each moment that the tests above use, the clock of that zone changes."""
    for zone, moment in CHANGES.values():
        at, tz = unix(moment), ZoneInfo(zone)
        assert datetime.fromtimestamp(at - 1, tz).utcoffset() != datetime.fromtimestamp(at, tz).utcoffset()


@pytest.mark.parametrize(
    ("text", "around", "expected"),
    [
        # 02:30 does not exist on 8 March: the run comes at 03:00 EDT.
        ("30 2 * * * America/New_York", datetime(2026, 3, 8), ["07:00"]),
        # 01:30 EDT, and not again at 01:30 EST.
        ("30 1 * * * America/New_York", datetime(2026, 11, 1), ["05:30"]),
        # 01:30 exists twice for a wildcard, 02:30 not at all.
        ("*/30 1 * * * America/New_York", datetime(2026, 11, 1), ["05:00", "05:30", "06:00", "06:30"]),
        ("*/30 2 * * * America/New_York", datetime(2026, 3, 8), []),
        # On Lord Howe the clock goes from 02:00 to 02:30, and back from 02:00 to 01:30.
        ("15 2 * * * Australia/Lord_Howe", datetime(2026, 10, 3), ["15:30"]),
        ("*/20 3 * * * Australia/Lord_Howe", datetime(2026, 10, 3), ["16:00", "16:20", "16:40"]),
        ("45 1 * * * Australia/Lord_Howe", datetime(2026, 4, 4), ["14:45"]),
        ("*/10 2 * * * Australia/Lord_Howe", datetime(2026, 4, 4), [f"15:{m}" for m in (30, 40, 50)] +
         [f"16:{m:02}" for m in (0, 10, 20)]),
    ],
)  # fmt: skip
def test_known_days(text: str, around: datetime, expected: list[str]) -> None:
    """On days of a clock change, the runs are those of cron(8), in UTC."""
    start = unix(around)
    runs = list(chain(text, start, start + DAY_S))
    assert [f"{datetime.fromtimestamp(run, UTC):%H:%M}" for run in runs] == expected


def test_no_second_run_between_the_two_showings() -> None:
    """A fixed time that the clock shows twice is over after its first showing: the next run is tomorrow's."""
    expression = cron.parse("50 1 * * * America/New_York")
    in_the_second_showing = unix(datetime(2026, 11, 1, 6, 10))
    assert expression.after(in_the_second_showing) == unix(datetime(2026, 11, 2, 6, 50))


fields_of_minutes = st.one_of(
    st.just("*"),
    st.integers(1, 30).map(lambda step: f"*/{step}"),
    st.lists(st.integers(0, 59), min_size=1, max_size=4).map(lambda numbers: ",".join(map(str, numbers))),
)
fields_of_hours = st.one_of(
    st.just("*"),
    st.integers(1, 8).map(lambda step: f"*/{step}"),
    st.lists(st.integers(0, 4), min_size=1, max_size=3).map(lambda numbers: ",".join(map(str, numbers))),
)


@settings(max_examples=60, deadline=None)
@given(
    minutes=fields_of_minutes,
    hours=fields_of_hours,
    days=st.sampled_from(["* * *", "* * sun", "1,8,25,29 * *", "*/7 * *", "1 * mon"]),
    change=st.sampled_from(sorted(CHANGES)),
    seed=st.integers(0, 2**32),
)
def test_a_chain_repeats_and_skips_nothing(minutes: str, hours: str, days: str, change: str, seed: int) -> None:
    """If each run is the reference of the next, runs only go forward; a reference between two runs gives the second."""
    zone, moment = CHANGES[change]
    text, at = f"{minutes} {hours} {days} {zone}", unix(moment)
    runs = list(chain(text, at - DAY_S, at + DAY_S))[:300]
    assert all(earlier < later for earlier, later in pairwise(runs))
    rng, asked_directly = Random(seed), cron.parse(text)
    for earlier, later in rng.sample(list(pairwise(runs)), min(20, max(len(runs) - 1, 0))):
        assert asked_directly.after(rng.uniform(earlier, later - 0.001)) == later


@pytest.mark.parametrize(
    ("text", "reference", "run"),
    [
        ("*/5 9-17 * * mon-fri", "2026-09-18 17:55", "2026-09-21 09:00"),
        ("*/5 9-17 * * mon-fri Europe/Berlin", "2026-09-18 17:00", "2026-09-21 07:00"),
        ("0 0 13 * fri", "2026-09-01 00:00", "2026-09-04 00:00"),  # either day, as neither begins with a star
        ("0 0 */13 * fri", "2026-09-01 00:00", "2026-11-27 00:00"),  # both: the days 1, 14 and 27
        ("0 0 * * 7", "2026-09-01 00:00", "2026-09-06 00:00"),
        ("0 0 * JAN,jul *", "2026-09-01 00:00", "2027-01-01 00:00"),
        ("0 0 29 2 *", "2026-09-01 00:00", "2028-02-29 00:00"),
        ("10-50/20 4 1 1 *", "2026-01-01 04:10", "2026-01-01 04:30"),
        ("0 12 * * * utc", "2026-09-01 12:00", "2026-09-02 12:00"),
        ("* * * * *", "1960-01-01 00:00", "1970-01-01 00:00"),
    ],
)
def test_fields(text: str, reference: str, run: str) -> None:
    """Five fields are read as in crontab(5), in UTC without a zone, and the next run is strictly later."""
    assert cron.parse(text).after(unix(datetime.fromisoformat(reference))) == unix(datetime.fromisoformat(run))


@pytest.mark.parametrize("text", ["0 0 */31 2 mon#5", "0 0 */29 2 2#4"])
def test_what_does_not_come_within_fifty_years(text: str) -> None:
    """An expression that matches no day within fifty years has no next run; neither does any expression in the last
    years.
    """
    assert cron.parse(text).after(1_790_000_000) is None
    assert cron.parse("0 0 * * *").after(253_402_300_000) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "fields are needed (minute, hour, day-of-month, month, day-of-week), and optionally a zone, not 0 words"),
        ("@daily *", "six fields: there is none for seconds or years"),
        ("* * * * * * Europe/Berlin", "six fields: there is none for seconds or years"),
        ("60 * * * *", "the minute field '60'"),
        ("*/0 * * * *", "the minute field '*/0'"),
        ("* 24 * * *", "the hour field '24'"),
        ("* 5-3 * * *", "the hour field '5-3'"),
        ("* * 0 * *", "the day-of-month field '0'"),
        ("* * 30 2 *", "never comes: no month of the month field '2' has a day of the day-of-month field '30'"),
        ("* * * 13 *", "the month field '13'"),
        ("* * * foo *", "the month field 'foo'"),
        ("* * * * 8", "the day-of-week field '8'"),
        ("* * * * mon-xyz", "the day-of-week field 'mon-xyz'"),
        ("１ * * * *", "the minute field '１'"),
        ("* * * * * Mars/Olympus", "'Mars/Olympus' is not a time zone of the IANA database, such as Europe/Berlin"),
        ("* * * * * 0", "six fields: there is none for seconds or years"),
        ("* * * * * ../../etc/passwd", "'../../etc/passwd' is not a time zone"),
        (f"{'9' * 5000} * * * *", "a cron expression of 5008 characters: at most 1000 are allowed"),
        (f"{'9' * 900} * * * *", "the minute field '9999999999999999999999999999999999999999' is not valid"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    """A bad expression is refused in one line that names the field or the zone, and its value."""
    with pytest.raises(ValueError) as caught:
        cron.parse(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_zone_in_any_case() -> None:
    """The name of a zone may be written in any case, and is returned as IANA writes it."""
    assert cron.parse("0 8 * * * europe/BERLIN").zone == "Europe/Berlin"
    assert cron.parse("0 8 * * *").zone is None
