"""The work that a recurrence may cost: every step is charged, and rare rules neither block nor hide other runs."""

import re
import sys
import time
from datetime import UTC
from itertools import islice
from typing import ClassVar

import pytest
from dateutil.rrule import rrulestr
from helpers import LONGEST_ANSWER_S, YEAR_2026, utc
from hypothesis import given, settings
from hypothesis import strategies as st

from redbike.schedule.rrule.errors import BadRecurrence, Budget
from redbike.schedule.rrule.recurrence import Recurrence
from redbike.schedule.rrule.step_rule import steps_into

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


class Charged(Budget):
    """Budgets whose steps can be read afterwards."""

    made: ClassVar[list[Budget]] = []

    def __init__(self):
        super().__init__()
        self.made.append(self)


@pytest.fixture
def steps(monkeypatch):
    """Return a function that returns the steps charged since its last call."""
    monkeypatch.setattr("redbike.schedule.rrule.recurrence.Budget", Charged)

    def taken():
        charged = sum(Charged.LIMIT - budget.left for budget in Charged.made)
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
        assert charged <= Budget.LIMIT + 1_000, "the charge that goes beyond the limit is a small one"
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
    monkeypatch.setattr(Budget, "LIMIT", 800)
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
    with pytest.raises(BadRecurrence, match="its matches are excluded"):
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
