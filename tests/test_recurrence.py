"""What a recurrence answers: the RFC's examples, equality with python-dateutil, bounded work, good reasons."""

import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import ClassVar
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recurrence_oracle import check, check_one, check_weeks, random_rule, random_text, stamp, walk
from rfc5545_examples import EXAMPLES

from redbike.recurrence import BadRecurrence, Recurrence
from redbike.recurrence.congruence import steps_into
from redbike.recurrence.errors import Effort

# Each compared (recurrence, reference time) is a case. REDBIKE_RECURRENCE_CASES=10000000 asks for more.
CASES = int(os.environ.get("REDBIKE_RECURRENCE_CASES", 100_000))
# No question may take longer; a few times what the slowest takes on an idle machine.
LONGEST_ANSWER_S = 0.5
YEAR_2026 = 1_767_225_600


def utc(*moment):
    return int(datetime(*moment, tzinfo=UTC).timestamp())


def chain(recurrence, reference, most):
    """Runs as a scheduler meets them: each answer is the next reference time."""
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


# Seeds, not drawn parts: there is nothing to gain from shrinking a rule for minutes, its text says it all.
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**48))
def test_recurrences_equal_python_dateutil(seed):
    """Rules and sets of every kind, near their DTSTART and decades away, give python-dateutil's results."""
    check_one(Random(seed))


def test_many_generated_recurrences_equal_python_dateutil(capsys):
    """The same for 10^5 cases from fixed seeds, or as many as REDBIKE_RECURRENCE_CASES asks for.

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


# Each is a text and what its reason must say: the part, the value, what is allowed.
GARBAGE = {
    "": "empty",
    " \n\t ": "empty",
    "\0": "NAME=VALUE",
    "FREQ": "NAME=VALUE",
    "FREQ=DAILY;": "NAME=VALUE",
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
    """Garbage raises BadRecurrence, with one line in ASCII that names the trouble."""
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
    """Whatever the text, the answer is a time, None or BadRecurrence, and comes soon."""
    begin = time.perf_counter()
    try:
        recurrence = Recurrence(text)
        for reference in (0, YEAR_2026, -(10.0**11), 10.0**12):
            found = recurrence.after(reference)
            assert found is None or found > reference
    except BadRecurrence:
        pass
    assert time.perf_counter() - begin < 4 * LONGEST_ANSWER_S


HARD = (
    "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU",
    "FREQ=YEARLY;INTERVAL=97;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU",
    "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6",
    "FREQ=WEEKLY;BYDAY=MO;BYHOUR=1;BYSETPOS=2",
    "FREQ=WEEKLY;BYEASTER=1,2;BYSETPOS=3",
    "FREQ=YEARLY;BYSETPOS=366;BYDAY=MO",
    "FREQ=SECONDLY;INTERVAL=86399;BYHOUR=3",
    "FREQ=SECONDLY;INTERVAL=86399;BYHOUR=3;BYMINUTE=0;BYSECOND=0;BYDAY=MO",
    "FREQ=SECONDLY;INTERVAL=7;BYHOUR=9;COUNT=5000",
    "FREQ=SECONDLY;INTERVAL=604801;BYMONTHDAY=29;BYMONTH=2;BYHOUR=3;BYMINUTE=7;BYSECOND=9",
    "FREQ=MINUTELY;INTERVAL=999999999;BYYEARDAY=-366",
    "FREQ=DAILY;COUNT=1000000000;BYDAY=MO",
    "FREQ=SECONDLY;COUNT=1000000000;BYMONTH=1,2,3",
    "FREQ=MONTHLY;COUNT=5000;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
    "FREQ=SECONDLY EXRULE:FREQ=SECONDLY",
    "FREQ=DAILY;BYHOUR="
    + ",".join(map(str, range(24)))
    + ";BYMINUTE="
    + ",".join(map(str, range(60)))
    + ";BYSECOND="
    + ",".join(map(str, range(60))),
    " ".join(["FREQ=WEEKLY;BYDAY=MO;BYHOUR=1;BYSETPOS=2"] * 50),
    "FREQ=DAILY RDATE:" + ",".join(["20260101T000000"] * 4_000),
    "RRULE:FREQ=SECONDLY " * 49 + "EXRULE:FREQ=SECONDLY",
    "RRULE:FREQ=SECONDLY " * 49 + "EXRULE:FREQ=SECONDLY;BYMINUTE=" + ",".join(map(str, range(49))),
    "FREQ=YEARLY;COUNT=5000;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=1",
    "FREQ=HOURLY;COUNT=5000;BYHOUR=9,10",
    "FREQ=WEEKLY;INTERVAL=5;COUNT=1000000000;BYEASTER=" + ",".join(map(str, range(-366, 258))),
    "FREQ=WEEKLY;INTERVAL=3;BYEASTER=1,2;BYMONTH=1",
    "FREQ=YEARLY;BYSETPOS=366;BYMONTH=3;BYEASTER=" + ",".join(map(str, range(-366, 258))),
    # In a zone, all of its runs are at times that do not exist.
    "FREQ=HOURLY;BYHOUR=2;BYMINUTE=30;BYMONTH=3;BYMONTHDAY=8,9,10,11,12,13,14;BYDAY=SU",
    "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30;BYDAY="
    + ",".join(f"{nth}{day}" for nth in range(-53, 54) if nth for day in ("MO", "TU", "WE", "TH", "FR")),
    "FREQ=SECONDLY;INTERVAL=129600;BYSECOND=3 " * 50,
    "FREQ=HOURLY;INTERVAL=5;BYMINUTE=" + ",".join(map(str, range(60))) + ";BYSECOND=" + ",".join(map(str, range(60))),
)


@pytest.mark.parametrize("zone", ["", ";TZID=America/New_York"])
@pytest.mark.parametrize("text", HARD, ids=lambda text: text[:70])
def test_rules_that_match_rarely_or_never_cost_bounded_work(text, zone):
    """Parsing and one answer of the hardest texts stay within the bound, whether there is an answer or not."""
    begin = time.perf_counter()
    try:
        Recurrence(f"DTSTART{zone}:19960229T010203\n{text}").after(YEAR_2026)
    except BadRecurrence as reason:
        assert re.search("steps of search|never reaches|too many to count", str(reason))
    assert time.perf_counter() - begin < LONGEST_ANSWER_S


class Charged(Effort):
    """Efforts whose steps can be looked at afterwards."""

    made: ClassVar[list[Effort]] = []

    def __init__(self):
        super().__init__()
        self.made.append(self)


@pytest.fixture
def steps(monkeypatch):
    """A function that returns the steps charged since its last call."""
    monkeypatch.setattr("redbike.recurrence.recurrence.Effort", Charged)

    def taken():
        charged = sum(Charged.LIMIT - effort.left for effort in Charged.made)
        Charged.made.clear()
        return charged

    taken()
    return taken


@pytest.mark.parametrize("begin", ["DTSTART:19960229T010203\n", "DTSTART;TZID=America/New_York:19960229T010203\n", ""])
@pytest.mark.parametrize("text", HARD, ids=lambda text: text[:70])
def test_what_is_done_is_charged(text, begin, steps):
    """Reading the hardest texts, and asking them, take a few calls for each step charged, and for each date."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    def ask(question):
        nonlocal calls
        calls, answer = 0, None
        sys.setprofile(count)
        try:
            answer = question()
        except BadRecurrence:
            pass
        finally:
            sys.setprofile(None)
        charged = steps()
        assert charged <= Effort.LIMIT + 1_000, "the charge that goes beyond the limit is a small one"
        assert calls <= 20 * charged + 10_000 + len(text) // 4
        return answer

    recurrence = ask(lambda: Recurrence(begin + text))
    for _ in range(2 if recurrence else 0):
        ask(lambda: recurrence.after(YEAR_2026))


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ("FREQ=MONTHLY;INTERVAL=1000000;BYEASTER=1", None),
        ("FREQ=MONTHLY;INTERVAL=1000000;BYEASTER=1;COUNT=100", None),
        ("FREQ=MONTHLY;INTERVAL=1201;BYMONTHDAY=31", utc(2200, 3, 31)),
        ("FREQ=WEEKLY;INTERVAL=100000;BYEASTER=0", None),
        ("FREQ=WEEKLY;INTERVAL=5218;BYDAY=MO,FR", utc(2100, 2, 1)),
        ("FREQ=WEEKLY;INTERVAL=417423;BYDAY=SA,MO", None),
        # The week begins on 28 December.
        ("FREQ=WEEKLY;INTERVAL=1404;BYDAY=SU;BYMONTH=1", utc(2027, 1, 3)),
        ("FREQ=DAILY;INTERVAL=100000;BYMONTH=1,2,3,4,5,6,7,8,9,10,11", utc(2273, 11, 15)),
        ("FREQ=DAILY;INTERVAL=1000000;BYDAY=MO", None),
        ("FREQ=YEARLY;INTERVAL=3000;BYEASTER=1;COUNT=100", utc(5000, 3, 31)),
    ],
)
def test_an_interval_above_a_year_is_leapt_over(rule, answer, steps):
    """Only years with an allowed period are looked at; the answers are python-dateutil's."""
    text = f"DTSTART:20000131T000000\nRRULE:{rule}"
    assert Recurrence(text).after(YEAR_2026) == answer
    assert steps() < 600


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;INTERVAL=7;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=WEEKLY;INTERVAL=3;BYEASTER=100;BYMONTH=1",
        "FREQ=MONTHLY;INTERVAL=6;BYMONTH=1",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
    ],
)
@pytest.mark.parametrize("end", ["", ";COUNT=2"])
def test_what_no_kind_of_year_has_is_not_searched_for_8000_years(rule, end, steps):
    """The kinds of year, or a cycle of the calendar, show that there is no run."""
    assert Recurrence(f"DTSTART:19960229T010203\nRRULE:{rule}{end}").after(YEAR_2026) is None
    assert steps() < 2_500


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ("FREQ=YEARLY;BYEASTER=0;BYMONTH=3;BYMONTHDAY=22", utc(2285, 3, 22)),
        ("FREQ=WEEKLY;INTERVAL=50;BYMONTH=2;BYMONTHDAY=29;BYEASTER=-22", None),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6", None),
    ],
)
def test_a_long_search_is_not_repeated(rule, answer, steps):
    """The first question pays for a gap of centuries; the next ones, within it, pay next to nothing."""
    recurrence = Recurrence(f"DTSTART:20110101T000000\nRRULE:{rule}")
    steps()
    assert recurrence.after(YEAR_2026) == answer
    assert steps() > 500
    for reference in (YEAR_2026, YEAR_2026 + 1, YEAR_2026 + 10**9):
        assert recurrence.after(reference) == answer
        assert steps() < 10
    assert recurrence.after(utc(2015, 1, 1)) == answer


@pytest.mark.parametrize(
    "rare",
    [
        "FREQ=YEARLY;BYEASTER=0;BYMONTH=3;BYMONTHDAY=22",
        "FREQ=MONTHLY;BYEASTER=0;BYMONTH=3;BYMONTHDAY=22",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=6",
    ],
)
def test_a_rare_rule_hides_no_run_that_comes_before_where_it_was_searched(rare, monkeypatch):
    """With fewer steps than the rare rule needs: refused alone, and not where others of its set have a run."""
    monkeypatch.setattr(Effort, "LIMIT", 800)
    start = "DTSTART:20110101T000000\n"
    with pytest.raises(BadRecurrence, match="within 800 steps of search"):
        Recurrence(f"{start}RRULE:{rare}").after(YEAR_2026)
    for first, second in (("FREQ=DAILY", rare), (rare, "FREQ=DAILY")):
        assert Recurrence(f"{start}RRULE:{first}\nRRULE:{second}").after(YEAR_2026) == YEAR_2026 + 86_400
    with pytest.raises(BadRecurrence, match="within 800 steps of search"):
        Recurrence(f"{start}RRULE:{rare}\nRDATE:24000101T000000").after(YEAR_2026)


def test_each_rule_of_a_set_is_charged(steps):
    """Asking 49 rules costs 49 questions, so that excluded runs end the sooner, the more rules there are."""
    few, many = (
        Recurrence("DTSTART:20260101T000000 " + "RRULE:FREQ=SECONDLY " * rules + "EXRULE:FREQ=SECONDLY;COUNT=101")
        for rules in (1, 49)
    )
    steps()
    assert few.after(YEAR_2026) == YEAR_2026 + 101
    assert 400 < steps() < 1_000
    assert many.after(YEAR_2026) == YEAR_2026 + 101
    assert steps() > 10_000
    with pytest.raises(BadRecurrence, match="what it matches is excluded"):
        Recurrence(many.text.replace("COUNT=101", "COUNT=1001")).after(YEAR_2026)


@pytest.mark.parametrize(
    ("rule", "last"),
    [
        ("FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=1;COUNT=5000", utc(6996, 1, 1, 1, 2, 3)),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYSETPOS=-1;COUNT=1000", utc(6116, 2, 29, 1, 2, 3)),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,-1;COUNT=5000", utc(2204, 6, 1, 1, 2, 3)),
        ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH;BYSETPOS=2,-1;COUNT=4001", utc(2034, 6, 29, 1, 2, 3)),
    ],
)
def test_count_with_positions_counts_whole_periods(rule, last, steps):
    """COUNT with BYSETPOS costs a few steps a period, and ends where python-dateutil's walk ends."""
    recurrence = Recurrence(f"DTSTART:19960229T010203\nRRULE:{rule}")
    assert steps() < 25_000
    assert recurrence.after(last - 1) == last
    assert recurrence.after(last) is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia"])
def test_questions_that_come_close_together_are_answered_as_single_ones(zone):
    """What a zone's clock remembers between two questions changes no answer, before and after each change."""
    text = f"DTSTART;TZID={zone}:20100101T000000\nRRULE:FREQ=HOURLY;INTERVAL=5;BYMINUTE=0,30\nRRULE:FREQ=DAILY"
    shared = Recurrence(text)
    for start in (utc(2011, 12, 20), utc(2026, 2, 1), utc(2026, 3, 15), utc(2026, 10, 1)):
        reference = start
        while reference < start + 40 * 86_400:
            found = shared.after(reference)
            assert found == Recurrence(text).after(reference)
            reference = found


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
    """The start is a datetime as it was written; the zone is its IANA name, None for UTC."""
    zoned = Recurrence("DTSTART;TZID=europe/berlin:20260101T090000\nRRULE:FREQ=DAILY")
    assert (zoned.zone, zoned.start) == ("Europe/Berlin", datetime(2026, 1, 1, 9, tzinfo=ZoneInfo("Europe/Berlin")))
    assert Recurrence("DTSTART:20260101T090000\nFREQ=DAILY").start == datetime(2026, 1, 1, 9)
    assert Recurrence("DTSTART:20260101T090000Z\nFREQ=DAILY").start == datetime(2026, 1, 1, 9, tzinfo=UTC)
    assert Recurrence("DTSTART:20260101T090000Z\nFREQ=DAILY").zone is None
    assert (Recurrence("FREQ=DAILY").start, Recurrence("FREQ=DAILY").text) == (None, "FREQ=DAILY")


def test_a_recurrence_is_shared_by_threads():
    """Threads that ask one recurrence for different times get what one thread gets."""
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


def test_an_exclusion_may_swallow_a_weekend_of_minutes():
    """An EXRULE that excludes thousands of runs in a row is passed over within the bound."""
    text = "DTSTART:20000101T000000\nRRULE:FREQ=MINUTELY\nEXRULE:FREQ=MINUTELY;BYDAY=SA,SU"
    assert Recurrence(text).after(utc(2026, 1, 2, 23, 59)) == utc(2026, 1, 5)


def test_a_rule_that_is_not_found_hides_no_run_of_its_set():
    """A rule that matches too rarely to be found within bounded work leaves the earlier runs of its set alone."""
    hours, minutes = ",".join(map(str, range(12))), ",".join(map(str, range(30)))
    rare = f"RRULE:FREQ=SECONDLY;INTERVAL=86399;BYHOUR={hours};BYMINUTE={minutes}"
    start = "DTSTART:20110228T235959"
    begin = utc(2011, 2, 28, 23, 59, 59)
    assert Recurrence(f"{start}\nRRULE:FREQ=SECONDLY;INTERVAL=366\n{rare}").after(begin) == begin + 366
    for text in (f"{start}\n{rare}", f"{start}\nRDATE:20990101T000000\n{rare}"):
        with pytest.raises(BadRecurrence, match="steps of search"):
            Recurrence(text).after(begin)


@pytest.mark.parametrize("rule", ["INTERVAL=86399;BYHOUR=13,15", "INTERVAL=86399;BYSECOND=48;BYHOUR=2,0,8"])
def test_steps_that_drift_round_the_clock_are_found(rule):
    """A SECONDLY rule whose steps fall a second earlier each day leaps over the hours that it does not want."""
    text = f"DTSTART:20120131T090000\nRRULE:FREQ=SECONDLY;{rule}"
    runs = [moment.replace(tzinfo=UTC).timestamp() for moment in islice(rrulestr(text), 9000)]
    found, reference = [], runs[0] - 1
    for _ in range(5):
        reference = Recurrence(text).after(reference)
        found.append(reference)
    assert found == runs[:5]
    around = [index for index in range(1, len(runs)) if runs[index] - runs[index - 1] > 10 * 86_399]
    for index in around[:3]:
        assert Recurrence(text).after(runs[index - 1]) == runs[index]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 99), st.integers(0, 250), st.integers(1, 100), st.data())
def test_steps_on_a_circle_are_counted(at, step, circle, data):
    """The number of steps until a walk round a circle falls into a range is what walking it gives."""
    last = data.draw(st.integers(0, circle - 1))
    first = data.draw(st.integers(0, last))
    walked = next((k for k in range(circle) if first <= (at % circle + k * step) % circle <= last), None)
    assert steps_into(at % circle, step, circle, first, last) == walked
