"""Times, lengths and schedules in words: pure functions, whose words never say less than what they stand for."""

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from redbike.looking import words
from redbike.looking.schedules import schedule_in_words
from redbike.looking.widths import cut, cut_inside, padded, width, wrapped
from redbike.schedule.forms import read
from redbike.schedule.plan import Action

NOW = datetime(2026, 11, 29, 18, 20, 3, tzinfo=UTC).timestamp()  # a Sunday


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock shows UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    os.environ.pop("TZ", None)
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-5, "0 s"), (0, "0 s"), (0.99, "0 s"), (3, "3 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min")),
        *((3600, "1 h"), (86_399, "23 h"), (86_400, "1 day"), (4 * 86_400 + 5, "4 days")),
    ],
)
def test_a_length_has_its_largest_unit(seconds: float, text: str) -> None:
    """A length of time is rounded down to its largest unit."""
    assert words.length(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(10_800, "in 3 h"), (1, "in 1 s"), (0.4, "now"), (-0.4, "now"), (-180, "3 min ago")]
)
def test_ahead_or_ago(seconds: float, text: str) -> None:
    """A time ahead is `in 3 h`, a time that has passed `3 min ago`, and less than a second is `now`."""
    assert words.ahead(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-1, "0.000 s"), (0.0042, "0.004 s"), (2.314, "2.31 s"), (9.994, "9.99 s"), (9.996, "10.0 s")),
        *((99.94, "99.9 s"), (99.96, "100 s"), (599, "599 s"), (600, "10 min"), (7300, "2 h")),
    ],
)
def test_a_duration_has_three_digits(seconds: float, text: str) -> None:
    """A duration has three digits, up to ten minutes."""
    assert words.duration(seconds) == text


@pytest.mark.usefixtures("in_utc")
@pytest.mark.parametrize(
    ("ahead_s", "text"),
    [
        (0, "18:20:03"),
        (-18 * 3600, "00:20:03"),
        (10 * 3600, "Mon 04:20"),
        (-5 * 86_400, "Tue 18:20"),
        (6 * 86_400, "2026-12-05 18:20"),
        (10**20, str(NOW + 10**20)),
        (float("inf"), "inf"),
    ],
)
def test_a_moment_is_as_short_as_it_can_be(ahead_s: float, text: str) -> None:
    """A moment is a time on this day, a weekday within six days, else a date; a number that is no time stays."""
    assert words.moment(NOW + ahead_s, NOW) == text


def test_numbers_and_texts() -> None:
    """Nouns agree with their numbers, and a text that is cut ends with an ellipsis."""
    assert [words.plural(number, "job") for number in (0, 1, 1204)] == ["0 jobs", "1 job", "1,204 jobs"]
    assert words.plural(2, "entry", "entries") == "2 entries"
    assert [words.shortened(text, 4) for text in ("four", "fives")] == ["four", "fiv…"]


# schedules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CONTINUE", "again and again"),
        ("STOP", "no more"),
        ("EVERY:5m", "every 5 min"),
        ("EVERY:300", "every 5 min"),
        ("EVERY:90m", "every 90 min"),
        ("EVERY:1h", "every hour"),
        ("EVERY:1d", "every day"),
        ("EVERY:1", "every second"),
        ("PAUSED:EVERY:3d", "every 3 days"),
        ("RRULE:FREQ=DAILY;BYHOUR=8;BYMINUTE=0;BYSECOND=0", "daily at 08:00 UTC"),
        ("DTSTART;TZID=Europe/Berlin:20260101T080000\\nRRULE:FREQ=DAILY", "daily at 08:00 Berlin"),
        (
            "DTSTART;TZID=America/New_York:20260101T083000\nRRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;COUNT=3",
            "weekdays at 08:30 New York, 3 times",
        ),
        ("DTSTART:20260101T080000Z\nRRULE:FREQ=WEEKLY;INTERVAL=2", "every 2 weeks on Thu at 08:00 UTC"),
        (
            "FREQ=MONTHLY;BYMONTHDAY=-1,15;BYHOUR=8,20;BYMINUTE=0;BYSECOND=5",
            "monthly on day 15, last day at 08:00:05, 20:00:05 UTC",
        ),
        (
            "DTSTART:20260101T080000Z\nRRULE:FREQ=DAILY;UNTIL=20270101T120000Z",
            "daily at 08:00 UTC, until 2027-01-01 12:00",
        ),
        (None, "-"),
    ],
)
def test_a_schedule_in_words(text: str | None, expected: str | None) -> None:
    """A common schedule becomes words. None stands for the text as it is written."""
    assert schedule_in_words(text) == (expected or " ".join((text or "").replace("\\n", "\n").split()))


@pytest.mark.parametrize(
    "text",
    [
        "CRON:0 8 * * MON-FRI Europe/Berlin",
        "AT:2026-12-24T18:00:00+01:00",
        "NOW",
        "EVERY:0",
        "EVERY:5x",
        "FREQ=SOMETIMES",
        "gibberish",
        "FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=1;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
        "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
        "FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
        "FREQ=DAILY;BYMONTH=6;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
        "FREQ=DAILY;BYHOUR=8",
        "FREQ=HOURLY;BYMINUTE=3;BYSECOND=0",
        "FREQ=DAILY;BYHOUR=0;BYMINUTE=0,5,10,15,20;BYSECOND=0",
        "DTSTART:20260101T080000Z RRULE:FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,MO",
        "DTSTART:20260101T080000Z RRULE:FREQ=DAILY EXDATE:20260102T080000Z",
        "DTSTART:20260101T080000Z RRULE:FREQ=DAILY RDATE:20260102T090000Z",
        "DTSTART:20260101T080000Z RRULE:FREQ=DAILY RRULE:FREQ=WEEKLY",
    ],
)
def test_an_unusual_schedule_is_shown_as_it_is_written(text: str) -> None:
    """A schedule with a part that has no word here is shown as it is written, on one line."""
    assert schedule_in_words(text) == text
    assert schedule_in_words(f" {text.replace(' ', chr(10))} ") == text


_NUMBERS = st.integers(1, 40)
_LISTS = {
    "BYDAY": st.lists(
        st.sampled_from(("MO", "TU", "WE", "TH", "FR", "SA", "SU", "1MO", "-1FR")), min_size=1, max_size=5
    ),
    "BYMONTHDAY": st.lists(st.sampled_from((1, 2, 15, 28, 31, -1, -2)), min_size=1, max_size=3),
    "BYMONTH": st.lists(st.integers(1, 12), min_size=1, max_size=3),
    "BYSETPOS": st.lists(st.sampled_from((1, 2, -1)), min_size=1, max_size=2),
    "BYYEARDAY": st.lists(st.sampled_from((1, 100, -1)), min_size=1, max_size=2),
    "BYWEEKNO": st.lists(st.sampled_from((1, 20, -1)), min_size=1, max_size=2),
    "BYHOUR": st.lists(st.integers(0, 23), min_size=1, max_size=3),
    "BYMINUTE": st.lists(st.integers(0, 59), min_size=1, max_size=2),
    "BYSECOND": st.lists(st.integers(0, 59), min_size=1, max_size=2),
}


@st.composite
def recurrences(draw: st.DrawFn) -> tuple[str, str]:
    """Return a recurrence, and the value of its DTSTART with its zone."""
    freq = draw(st.sampled_from(("SECONDLY", "MINUTELY", "HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")))
    parts = [f"FREQ={freq}"]
    for name, values in _LISTS.items():
        if draw(st.integers(0, 5)) == 0:
            parts.append(f"{name}={','.join(map(str, draw(values)))}")
    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(_NUMBERS)}")
    if draw(st.integers(0, 3)) == 0:
        parts.append(f"COUNT={draw(_NUMBERS)}")
    elif draw(st.integers(0, 3)) == 0:
        parts.append(f"UNTIL=2027{draw(st.integers(1, 12)):02}15T{draw(st.integers(0, 23)):02}3000Z")
    if draw(st.integers(0, 3)) == 0:
        parts.append(f"WKST={draw(st.sampled_from(('MO', 'SU', 'WE')))}")
    zone = draw(st.sampled_from(("UTC", "Europe/Berlin", "America/New_York")))
    start = datetime(2026, 1, 1) + timedelta(seconds=draw(st.integers(0, 400 * 86_400)))
    dtstart = f"DTSTART;TZID={zone}:{start:%Y%m%dT%H%M%S}"
    return f"{dtstart}\nRRULE:{';'.join(parts)}", dtstart


@settings(max_examples=400, deadline=None)
@given(recurrences())
def test_words_never_say_less_than_the_rule(drawn: tuple[str, str]) -> None:
    """Who knows the start of a recurrence can write it again from its words, and gets the same runs."""
    text, dtstart = drawn
    assume(read(text).first(NOW).action is not Action.BAD)
    told = schedule_in_words(text)
    if told != " ".join(text.split()):
        assert runs(rule_of(told, dtstart)) == runs(text), told


def rule_of(told: str, dtstart: str) -> str:
    """Return the recurrence that the words tell."""
    match = re.fullmatch(
        r"(?P<days>.*?)( at (?P<times>[0-9:, ]+) (?P<zone>\D+?))?(, (?P<count>\d+) times?)?(, until (?P<until>.*))?",
        told,
    )
    assert match, told
    parts = [*days_of(match["days"])]
    if match["times"]:
        assert dtstart.partition(":")[0].endswith(match["zone"].replace(" ", "_"))
        each = [(f"{time}:00" if time.count(":") == 1 else time).split(":") for time in match["times"].split(", ")]
        for number, name in enumerate(("BYHOUR", "BYMINUTE", "BYSECOND")):
            parts.append(f"{name}={','.join(str(int(time[number])) for time in each)}")
    if match["count"]:
        parts.append(f"COUNT={match['count']}")
    if match["until"]:
        at = datetime.fromisoformat(match["until"])
        parts.append(f"UNTIL={at:%Y%m%dT%H%M%S}Z")
    return f"{dtstart}\nRRULE:{';'.join(parts)}"


def days_of(told: str) -> Iterator[str]:
    units = {"second": "SECONDLY", "s": "SECONDLY", "minute": "MINUTELY", "min": "MINUTELY", "hour": "HOURLY"}
    units |= {"h": "HOURLY", "days": "DAILY", "weeks": "WEEKLY", "months": "MONTHLY"}
    if every := re.match(r"every (\d+ )?(\w+)( on )?", told):
        yield f"FREQ={units[every[2]]}"
        yield f"INTERVAL={(every[1] or '1').strip()}"
        told = told[every.end() :]
    elif told == "daily":
        yield "FREQ=DAILY"
        told = ""
    elif told.startswith("monthly on "):
        yield "FREQ=MONTHLY"
        told = told.removeprefix("monthly on ")
    else:
        yield "FREQ=WEEKLY"
    if "day " in told or "last day" in told:
        days = [day.removeprefix("day ").replace("last day", "-1") for day in told.split(", ")]
        yield f"BYMONTHDAY={','.join(days)}"
    elif told:
        named = "Mon, Tue, Wed, Thu, Fri" if told == "weekdays" else told
        yield f"BYDAY={','.join(day[:2].upper() for day in named.split(', '))}"


def runs(text: str) -> list[float]:
    """Return the first runs after the start of 2026."""

    def following() -> Iterator[float]:
        at = datetime(2025, 12, 31, tzinfo=ZoneInfo("UTC")).timestamp()
        while (plan := read(text).first(at)).leads_on and plan.due_at is not None:
            yield (at := plan.due_at)

    return list(islice(following(), 6))


# widths


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))), st.integers(0, 30))
def test_a_cut_text_fits(text: str, columns: int) -> None:
    """A text is cut only if it is too wide; then it fits, and an ellipsis shows the place."""
    for shorten in (cut, cut_inside):
        found = shorten(text, columns)
        assert width(found) <= columns
        assert found == text or columns == 0 or "…" in found
        if width(text) <= columns:
            assert found == text
            assert width(padded(text, columns)) == columns


def test_the_end_of_an_id_is_kept() -> None:
    """A job id that is cut keeps its beginning and its end, which names the queue."""
    assert cut_inside("customer-4711-monthly-report:A", 16) == "customer-4…ort:A"
    assert cut("世界世界", 5) == "世界…"
    assert (width("e\u0301"), width("世")) == (1, 2)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))), st.integers(1, 30))
def test_wrapped_lines_fit(text: str, columns: int) -> None:
    """A text is broken at blanks into lines that fit."""
    lines = wrapped(text, columns)
    assert all(width(line) <= columns for line in lines)
    if all(width(word) <= columns for word in text.split(" ")):
        assert " ".join(lines) == text
