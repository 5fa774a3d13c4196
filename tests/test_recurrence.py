"""What a recurrence answers: the RFC's examples, equality with python-dateutil, bounded work, good reasons."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

import pytest
from helpers import LONGEST_ANSWER_S, YEAR_2026, utc
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recurrence_oracle import check, check_one, check_weeks, random_rule, random_text, stamp, walk
from rfc5545_examples import EXAMPLES

from redbike.schedule.rrule.errors import BadRecurrence
from redbike.schedule.rrule.recurrence import Recurrence

# Each compared (recurrence, reference time) is a case. REDBIKE_RECURRENCE_CASES=10000000 asks for more.
CASES = int(os.environ.get("REDBIKE_RECURRENCE_CASES", 50_000))


def chain(recurrence, reference, most):
    """Return the runs like a scheduler: each answer is the next reference time."""
    runs = []
    while len(runs) < most and (reference := recurrence.after(reference)) is not None:
        runs.append(reference)
    return runs


def without_zone(text):
    return re.sub(r";TZID=[^:]*", "", text).replace("000Z", "000")


@pytest.mark.parametrize(("text", "listed", "ends"), EXAMPLES)
def test_the_examples_of_the_rfc_give_the_dates_it_lists(text, listed, ends):
    """A chain of runs from DTSTART on meets exactly the dates that RFC 5545 lists, and ends where it ends."""
    expected = [int(moment.replace(tzinfo=ZoneInfo("America/New_York")).timestamp()) for moment in listed]
    runs = chain(Recurrence(text), expected[0] - 86_400 * 366, len(expected) + 1)
    assert runs[: len(expected)] == expected
    assert len(runs) == len(expected) + (not ends)


@pytest.mark.parametrize("text", [without_zone(text) for text, _, _ in EXAMPLES])
def test_the_examples_of_the_rfc_equal_python_dateutil_where_there_is_no_zone(text):
    """Without their zone, the RFC's examples give what plain python-dateutil gives."""
    check(text, walk(text), Random(5545))


# Seeds, not drawn parts: shrinking a rule takes minutes and shows no more than its text.
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**48))
def test_recurrences_equal_python_dateutil(seed):
    """Rules and sets of every kind, near their DTSTART and decades away, give python-dateutil's results."""
    check_one(Random(seed))


def test_many_generated_recurrences_equal_python_dateutil(capsys):
    """The same for 50,000 cases from fixed seeds, or as many as REDBIKE_RECURRENCE_CASES asks for.

    Work is bounded, so a text may be refused where it is hard: at most one case in 100,000.
    """
    seed = done = 0
    refusals: list[str] = []
    while done < CASES:
        done += check_one(Random(seed), refusals)
        seed += 1
        assert len(refusals) <= max(CASES // 100_000, 1), "\n".join(refusals)
    with capsys.disabled():
        print(f" {done} cases of {seed} texts, {len(refusals)} refused", *refusals, sep="\n")


@pytest.mark.parametrize("wkst", ["MO", "TU", "WE", "TH", "FR", "SA", "SU"])
@pytest.mark.parametrize("freq", ["YEARLY", "WEEKLY"])
def test_week_numbers_equal_python_dateutil_in_every_kind_of_year(freq, wkst):
    """The first and last weeks of 28 years, whatever day weeks begin with, are python-dateutil's."""
    for number in (1, 2, 52, 53, -1, -2, -52, -53):
        check_weeks(number, freq, wkst)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**48), st.integers(0, 4_000_000_000))
def test_without_dtstart_the_reference_time_is_the_start(seed, reference):
    """A rule without DTSTART runs as if it began at the reference time, whole seconds of it."""
    text = f"RRULE:{random_rule(Random(seed))}"
    start = datetime.fromtimestamp(reference, UTC)
    expected = walk(f"DTSTART:{stamp(start)}\n{text}")
    if expected.refused:
        with pytest.raises(BadRecurrence):
            Recurrence(text).after(reference + 0.75)
        return
    runs = [run for run in expected.runs if run > reference]
    if runs:
        assert Recurrence(text).after(reference + 0.75) == runs[0]
    elif expected.known_to is None:
        assert Recurrence(text).after(reference + 0.75) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**48))
def test_sets_are_the_union_of_their_rules_and_dates_less_the_exclusions(seed):
    """Several RRULE, RDATE, EXRULE and EXDATE together give what python-dateutil's sets give."""
    rng = Random(seed)
    text = random_text(rng, sets=True)
    check(text, walk(text), rng)


# Each entry is a text and a piece of its reason: the part, the value, the allowed values.
GARBAGE = {
    "": "empty",
    " \n\t ": "empty",
    "\0": "NAME=VALUE",
    "FREQ": "NAME=VALUE",
    "FREQ=DAILY;COUNT": "NAME=VALUE",
    "FREQ=FORTNIGHTLY": r"FREQ='FORTNIGHTLY'.*YEARLY, MONTHLY",
    "INTERVAL=2": "no FREQ",
    "BYSETPOS=1": "no FREQ",
    "FREQ=DAILY;BYSETPOS=1": "BYSETPOS.*other BY parts",
    "FREQ=DAILY;COUNT=0": r"COUNT='0'.*1 to",
    "FREQ=DAILY;COUNT=-1": r"COUNT='-1'.*1 to",
    "FREQ=DAILY;COUNT=" + "9" * 31: r"COUNT='9+'.*1 to 1000000000",
    "FREQ=DAILY;INTERVAL=0": r"INTERVAL='0'.*1 to",
    "FREQ=DAILY;INTERVAL=-5": r"INTERVAL='-5'.*1 to",
    "FREQ=DAILY;INTERVAL=1_0": "INTERVAL='1_0'",
    "FREQ=DAILY;INTERVAL=\u0663": "INTERVAL=.*u0663",
    "FREQ=DAILY;INTERVAL=1e3": "INTERVAL='1E3'",
    "FREQ=DAILY;BYMONTH=13": r"BYMONTH='13'.*1 to 12",
    "FREQ=DAILY;BYMONTH=": r"BYMONTH=''.*1 to 12",
    "FREQ=DAILY;BYMONTHDAY=0": r"BYMONTHDAY='0'.*-31 to 31, 0 excepted",
    "FREQ=DAILY;BYHOUR=24": r"BYHOUR='24'.*0 to 23",
    "FREQ=DAILY;BYSECOND=60": r"BYSECOND='60'.*0 to 59",
    "FREQ=DAILY;BYDAY=XX": r"BYDAY='XX'.*MO, 1MO",
    "FREQ=DAILY;BYDAY=0MO": "BYDAY='0MO'",
    "FREQ=DAILY;BYDAY=54MO": "BYDAY='54MO'.*53",
    "FREQ=DAILY;WKST=1": "WKST='1'.*MO, TU",
    "FREQ=DAILY;COLOUR=RED": r"'COLOUR'.*known are .*BYDAY",
    "FREQ=DAILY;UNTIL=": "UNTIL: ''.*YYYYMMDDTHHMMSS",
    "FREQ=DAILY;UNTIL=TOMORROW": "UNTIL: 'TOMORROW'",
    "FREQ=DAILY;UNTIL=20261301": "UNTIL: '20261301'",
    "DTSTART:00000101T000000\nFREQ=DAILY": "DTSTART: '00000101T000000'",
    "DTSTART:999990101T000000\nFREQ=DAILY": "DTSTART: '999990101T000000'",
    "DTSTART:2013\nFREQ=DAILY": "DTSTART: '2013'.*year, month and day",
    "DTSTART:20260101T000000CET\nFREQ=DAILY": "'CET'.*TZID=Area/City",
    "DTSTART:20260101,20260102\nFREQ=DAILY": "several starts",
    "DTSTART;TZID=Mars/Olympus:20260101T000000\nFREQ=DAILY": "TZID='Mars/Olympus'.*IANA",
    "DTSTART;TZID=../../etc/passwd:20260101T000000\nFREQ=DAILY": "TZID='../../etc/passwd'",
    "DTSTART;TZID=:20260101T000000\nFREQ=DAILY": "TZID=''",
    "DTSTART;TZID=Europe:20260101T000000\nFREQ=DAILY": "TZID='Europe'",
    "DTSTART;TZID=Europe/Berlin:20260101T000000Z\nFREQ=DAILY": "beside TZID",
    "DTSTART;RANGE=ALL:20260101T000000\nFREQ=DAILY": "DTSTART does not take.*RANGE=ALL",
    "DTSTART:20260101T000000": "no RRULE and no RDATE",
    "EXDATE:20260101T000000": "no RRULE and no RDATE",
    "SUMMARY:Lunch\nFREQ=DAILY": "'SUMMARY'.*known are DTSTART",
    "\u2603\ufe0f\U0001f6b2:FREQ=DAILY": "known are DTSTART",
    "DTSTART:20260101T000000\nFREQ=HOURLY;INTERVAL=4;BYHOUR=3": "INTERVAL=4 never reaches",
    "DTSTART:20260101T000000\nFREQ=MINUTELY;INTERVAL=1440;BYHOUR=3": "never reaches",
    "DTSTART:20260101T000000\nFREQ=SECONDLY;INTERVAL=7000;BYSECOND=30;BYMINUTE=1;BYHOUR=1": "never reaches",
    "DTSTART:20260101T000000\nFREQ=MINUTELY;INTERVAL=7;BYHOUR=3;COUNT=5001": "COUNT=5001.*5000.*UNTIL",
    "x" * 100_000: "100000 characters.*65536",
    "FREQ=DAILY\n" * 51: "50 rules",
}


@pytest.mark.parametrize("text", GARBAGE, ids=ascii)
def test_what_cannot_be_read_is_refused_with_the_part_the_value_and_what_is_allowed(text):
    """Garbage raises BadRecurrence, with one line in ASCII that names the mistake."""
    with pytest.raises(BadRecurrence, match=GARBAGE[text]) as caught:
        Recurrence(text).after(YEAR_2026)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


WORDS = (
    "DTSTART RRULE EXRULE RDATE EXDATE FREQ BYDAY BYSETPOS BYEASTER BYWEEKNO INTERVAL COUNT UNTIL TZID VALUE "
    "SECONDLY MINUTELY HOURLY DAILY WEEKLY YEARLY Europe/Berlin 20260329T023000 20260101 Z T 1 0 -1 366 999999999 "
    "MO -1SU ( ) : ; = , - + FREQ=SECONDLY; ;BYHOUR=3 ;BYSETPOS=-1 ;COUNT=999"
)


FRAGMENTS = st.sampled_from([*WORDS.split(), "\n", "DTSTART:20260101T000000\n"])


@settings(max_examples=1_500, deadline=None)
@given(st.one_of(st.text(), st.lists(st.one_of(FRAGMENTS, st.text(max_size=3)), max_size=14).map("".join)))
@example("DTSTART;TZID=\ud800:20260101T000000\nFREQ=DAILY")
@example("DTSTART:20260101T000000+9999\nFREQ=DAILY")
@example("DTSTART:20260101T000000+2359\nFREQ=HOURLY;COUNT=4")
@example("DTSTART;TZID=Europe/Berlin:00010101T000000\nFREQ=HOURLY;COUNT=4")
@example("DTSTART;TZID=Europe/Berlin:99991231T235959\nFREQ=HOURLY")
@example("DTSTART:99991231T235959\nFREQ=WEEKLY;BYDAY=MO,SU;BYSETPOS=-1")
def test_no_text_raises_anything_but_bad_recurrence(text):
    """Any text soon gives a time, None or BadRecurrence."""
    begin = time.perf_counter()
    try:
        recurrence = Recurrence(text)
        for reference in (0, YEAR_2026, -(10.0**11), 10.0**12):
            found = recurrence.after(reference)
            assert found is None or found > reference
    except BadRecurrence:
        pass
    assert time.perf_counter() - begin < 4 * LONGEST_ANSWER_S


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30", None),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU;BYHOUR=0;BYMINUTE=0;BYSECOND=0", utc(2032, 2, 29)),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6", None),
        ("FREQ=WEEKLY;BYDAY=MO;BYHOUR=1;BYSETPOS=2", None),
        ("DTSTART:20000101T000000\nFREQ=DAILY;INTERVAL=1000000", utc(2000, 1, 1) + 1_000_000 * 86_400),
        ("DTSTART:20000101T000000\nFREQ=SECONDLY;INTERVAL=1000000000", utc(2031, 9, 9, 1, 46, 40)),
        ("DTSTART:20000101T000000\nFREQ=DAILY;UNTIL=20251231T235959", None),
    ],
)
def test_the_horizon_is_the_end_of_the_calendar(text, answer):
    """A rule that matches rarely is found however far ahead it is; None means none up to the year 9999."""
    assert Recurrence(text).after(YEAR_2026) == answer


def test_after_the_calendar_there_is_nothing():
    """References beyond any calendar are answered: the first occurrence, or none."""
    recurrence = Recurrence("DTSTART:20000101T000000\nFREQ=DAILY")
    assert recurrence.after(float("inf")) is None
    assert recurrence.after(10**30) is None
    assert recurrence.after(utc(9999, 12, 31)) is None
    assert recurrence.after(-float("inf")) == utc(2000, 1, 1)
    with pytest.raises(BadRecurrence, match="not a number"):
        recurrence.after(float("nan"))


@pytest.mark.parametrize(
    "text",
    [
        "DTSTART:20131009T164510\nRRULE:FREQ=MINUTELY",
        "rrule:freq=minutely\ndtstart:20131009t164510",
        "DTSTART:20131009T164510Z FREQ=MINUTELY",
        "DTSTART:2013-10-09T16:45:10\r\nRRULE:FREQ=MINUTELY\r\n",
        "DTSTART;VALUE=DATE-TIME:20131009T164510\nRRULE;X-NOTE=1:FREQ=MINUTELY",
        "DTSTART;TZID=UTC:20131009T164510\nRRULE:FREQ=MINUTELY",
        "DTSTART:20131009T184510+0200\nRRULE:FREQ=MINUTELY",
    ],
)
def test_spellings_that_say_the_same(text):
    """Case, prefix, line order, line breaks and the spelling of the date do not matter."""
    assert Recurrence(text).after(YEAR_2026) == YEAR_2026 + 10
    assert Recurrence(text).after(YEAR_2026 + 10.5) == YEAR_2026 + 70
    assert Recurrence(text).after(0) == utc(2013, 10, 9, 16, 45, 10)


def test_a_date_is_its_midnight():
    """DTSTART, UNTIL, RDATE and EXDATE may be dates."""
    text = "DTSTART;VALUE=DATE:20260101 RRULE:FREQ=DAILY;UNTIL=20260104 RDATE;VALUE=DATE:20260106 EXDATE:20260103"
    assert chain(Recurrence(text), 0, 9) == [utc(2026, 1, day) for day in (1, 2, 4, 6)]


def test_what_the_text_says_of_its_start_can_be_read():
    """The start is a datetime as written; the zone is its IANA name, or None for UTC."""
    zoned = Recurrence("DTSTART;TZID=europe/berlin:20260101T090000\nRRULE:FREQ=DAILY")
    assert (zoned.zone, zoned.start) == ("Europe/Berlin", datetime(2026, 1, 1, 9, tzinfo=ZoneInfo("Europe/Berlin")))
    assert Recurrence("DTSTART:20260101T090000\nFREQ=DAILY").start == datetime(2026, 1, 1, 9)
    assert Recurrence("DTSTART:20260101T090000Z\nFREQ=DAILY").start == datetime(2026, 1, 1, 9, tzinfo=UTC)
    assert Recurrence("DTSTART:20260101T090000Z\nFREQ=DAILY").zone is None
    assert (Recurrence("FREQ=DAILY").start, Recurrence("FREQ=DAILY").text) == (None, "FREQ=DAILY")


def test_a_recurrence_is_shared_by_threads():
    """Threads that ask one recurrence for different times get the answers of a single thread."""
    start = "DTSTART;TZID=Europe/Berlin:19960101T000000"
    text = f"{start}\nFREQ=MINUTELY;INTERVAL=7;BYDAY=MO,WE;BYHOUR=2,3\nEXDATE:20260105T021000"
    references = [YEAR_2026 + 86_400 * day for day in range(400)]
    expected = [Recurrence(text).after(reference) for reference in references]
    shared = Recurrence(text)
    with ThreadPoolExecutor(8) as pool:
        for answers in pool.map(lambda _: [shared.after(reference) for reference in references], range(8)):
            assert answers == expected


DEPARTURES = {
    # A plain weekday beside one with an ordinal: both must hold, so that nothing may match. RFC: either.
    "DTSTART:20260101T000000\nRRULE:FREQ=MONTHLY;BYDAY=MO,1TU": [],
    "DTSTART:20260101T000000\nRRULE:FREQ=MONTHLY;BYDAY=TU,1TU;COUNT=2": [utc(2026, 1, 6), utc(2026, 2, 3)],
    # The ordinal is dropped where the period is a week or less. RFC: not allowed.
    "DTSTART:20260101T000000\nRRULE:FREQ=WEEKLY;BYDAY=2MO;COUNT=2": [utc(2026, 1, 5), utc(2026, 1, 12)],
    # Positions of the first week count from DTSTART, a Thursday. RFC: from the week's beginning.
    "DTSTART:20260101T000000\nRRULE:FREQ=WEEKLY;BYDAY=MO,FR;BYSETPOS=1;COUNT=2": [utc(2026, 1, 2), utc(2026, 1, 5)],
    # 1 and 2 January 2011 belong to week 52 of 2010, and are taken for week 53.
    "DTSTART:20100601T000000\nRRULE:FREQ=YEARLY;BYWEEKNO=53;UNTIL=20110601": [utc(2011, 1, 1), utc(2011, 1, 2)],
    # The last days of 2024 belong to week 1 of 2025, which BYWEEKNO=-52 finds only within 2025.
    "DTSTART:20241201T000000\nRRULE:FREQ=YEARLY;BYWEEKNO=-52;BYDAY=MO,WE;UNTIL=20250110": [utc(2025, 1, 1)],
    # BYWEEKNO and BYYEARDAY are taken as filters at every FREQ. RFC: not allowed.
    "DTSTART:20260101T000000\nRRULE:FREQ=DAILY;BYWEEKNO=10;COUNT=2": [utc(2026, 3, 2), utc(2026, 3, 3)],
    # DTSTART is a run only if the rule matches it. RFC: always the first.
    "DTSTART:20260101T000000\nRRULE:FREQ=DAILY;BYMONTHDAY=5;COUNT=1": [utc(2026, 1, 5)],
}


@pytest.mark.parametrize("text", DEPARTURES)
def test_where_python_dateutil_departs_from_the_rfc_its_answer_is_kept(text):
    """Each departure that the documentation lists is python-dateutil's, and ours."""
    assert chain(Recurrence(text), 0, 9) == DEPARTURES[text]
    check(text, walk(text), Random(0))


def test_dates_are_read_in_the_zone_of_their_line_or_of_the_start():
    """RDATE and EXDATE are read in their own zone, in that of DTSTART without one, and in UTC without any."""
    text = (
        "DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY;COUNT=3\n"
        "EXDATE:20260102T090000\nEXDATE;TZID=America/New_York:20260103T030000\n"
        "RDATE:20260104T090000Z\nRDATE;TZID=Asia/Tokyo:20260105T000000"
    )
    assert chain(Recurrence(text), 0, 9) == [utc(2026, 1, 1, 8), utc(2026, 1, 4, 9), utc(2026, 1, 4, 15)]
