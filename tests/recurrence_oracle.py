"""Generated recurrences, and what plain python-dateutil answers for them on a bounded walk from DTSTART."""

import calendar
import re
from bisect import bisect_right
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from unittest import mock

from dateutil import rrule as dateutil_rrule
from dateutil.relativedelta import relativedelta

from redbike.schedule.rrule.errors import BadRecurrence
from redbike.schedule.rrule.recurrence import Recurrence

FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
INTERVALS = (1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 15, 18, 24, 25, 30, 36, 45, 48, 60, 61, 90, 97, 100, 120, 240)
LONG_INTERVALS = (
    360,
    366,
    1000,
    1440,
    1441,
    2880,
    3600,
    3601,
    7200,
    43200,
    86399,
    86400,
    86401,
    172800,
    604800,
    1000000,
)
# Number of periods (for HOURLY and faster: checked steps) of a rule that the oracle walks.
WALKED_PERIODS = 80
STEPS_USED_UP = re.compile(r"within \d+ steps of search")
_STEP = {"DAILY": 86_400, "HOURLY": 3_600, "MINUTELY": 60, "SECONDLY": 1}


class WalkedFar(Exception):
    """The oracle has gone through its limit of periods."""


class _BoundedIterinfo(dateutil_rrule._iterinfo):
    """python-dateutil asks it for the days of every period it walks through: the place to stop a walk for good.

    UNTIL would not do: a rule that matches nothing never looks at it, and runs on to the year 9999.
    """

    reached = datetime.min
    periods_left = 0

    def _count(self, year, month, day):
        cls = type(self)
        cls.reached = max(cls.reached, datetime(year, month, min(day, 28) if month == 2 else day))
        cls.periods_left -= 1
        if cls.periods_left < 0:
            raise WalkedFar

    def ydayset(self, year, month, day):
        self._count(year, 1, 1)
        return super().ydayset(year, month, day)

    def mdayset(self, year, month, day):
        self._count(year, month, 1)
        return super().mdayset(year, month, day)

    def wdayset(self, year, month, day):
        self._count(year, month, day)
        return super().wdayset(year, month, day)

    def ddayset(self, year, month, day):
        self._count(year, month, day)
        return super().ddayset(year, month, day)


@contextmanager
def bounded_walk(periods):
    """Make python-dateutil raise WalkedFar after so many periods."""
    walk = type("Walk", (_BoundedIterinfo,), {"reached": datetime.min, "periods_left": periods})
    with mock.patch.object(dateutil_rrule, "_iterinfo", walk):
        yield walk


def unix(moment):
    return calendar.timegm(moment.timetuple())


@dataclass
class Expected:
    """What python-dateutil gave, in Unix seconds: complete up to `known_to`, or to the end of time if None."""

    runs: list
    known_to: int | None
    refused: bool = False


def is_set(text):
    """Several rules or dates, of which python-dateutil merges the runs."""
    return text.count("RULE:") > 1 or "DATE:" in text


def walk(text, periods=WALKED_PERIODS):
    """Return all runs that plain python-dateutil finds from DTSTART within the bounded walk."""
    runs = []
    with bounded_walk(periods) as bound:
        try:
            for moment in dateutil_rrule.rrulestr(text):
                runs.append(unix(moment))
        except WalkedFar:
            # In a set, the rule that went too far may have been ahead of the others.
            reached = datetime.min if is_set(text) else bound.reached
            return Expected(runs, max([unix(reached) - 1, *runs[-1:]]))
        except (ValueError, OverflowError) as error:
            if "year" in str(error) or "ordinal" in str(error):  # the calendar ends in the midst of a week
                return Expected(runs, max(runs, default=0))
            return Expected(runs, None, refused=True)
        except IndexError:  # its tables of the year end too early, as for the 20th Monday of December
            return Expected(runs, max(runs, default=0))
    return Expected(runs, None)


def some(rng, population, most):
    return ",".join(str(one) for one in rng.sample(population, rng.randint(1, min(most, len(population)))))


def signed(rng, highest, most):
    return ",".join(str(rng.choice((1, 1, -1)) * rng.randint(1, highest)) for _ in range(rng.randint(1, most)))


def random_rule(rng, freq=None, *, ends=True):
    """Return the text of one rule, without its property name."""
    freq = freq or rng.choice(FREQUENCIES)
    parts = [f"FREQ={freq}"]
    if rng.random() < 0.6:
        parts.append(f"INTERVAL={rng.choice(INTERVALS if rng.random() < 0.9 else LONG_INTERVALS)}")
    if rng.random() < 0.3:
        parts.append(f"WKST={rng.choice(WEEKDAYS)}")
    likely = rng.choice((0.0, 0.1, 0.3))
    by_parts = {
        "BYMONTH": lambda: some(rng, range(1, 13), 6),
        "BYMONTHDAY": lambda: signed(rng, 31, 8),
        "BYYEARDAY": lambda: signed(rng, 366, 12),
        "BYWEEKNO": lambda: signed(rng, 53, 8),
        "BYDAY": lambda: ",".join(_random_weekday(rng, freq) for _ in range(rng.randint(1, 5))),
        "BYHOUR": lambda: some(rng, range(24), 12),
        "BYMINUTE": lambda: some(rng, range(60), 5),
        "BYSECOND": lambda: some(rng, range(60), 3),
        "BYEASTER": lambda: ",".join(str(rng.randint(-90, 100)) for _ in range(rng.randint(1, 3))),
    }
    within_days = ("BYHOUR", "BYMINUTE", "BYSECOND") if freq in FREQUENCIES[4:] else ()
    chosen = [
        f"{name}={value()}"
        for name, value in by_parts.items()
        if rng.random() < (max(likely, 0.3) if name in within_days else likely)
    ]
    if chosen and rng.random() < 0.25:
        chosen.append(f"BYSETPOS={signed(rng, rng.choice((2, 5, 30, 366)), 4)}")
    parts += chosen
    rng.shuffle(parts)
    if ends and rng.random() < 0.25:
        parts.append(f"COUNT={rng.choice((1, 2, 3, 10, 50, 100))}")
    return ";".join(parts)


def _random_weekday(rng, freq):
    ordinal = ""
    if rng.random() < 0.4:
        ordinal = str(rng.choice((1, 2, 3, 4, 5, -1, -2, 20, -30)[: 7 if freq != "YEARLY" else 9]))
    return ordinal + rng.choice(WEEKDAYS)


def random_start(rng):
    """Return a start, often at an edge: the end of a month or a year, a leap day, midnight."""
    year = rng.choice((1970, 1996, 1997, 1999, 2000, 2004, 2010, 2011, 2012, 2015, 2016, 2020, 2024, 2026))
    month, day = rng.choice(((1, 1), (1, 2), (1, 31), (2, 28), (3, 1), (12, 28), (12, 31), (0, 0), (0, 0)))
    if not month:
        month, day = rng.randint(1, 12), rng.randint(1, 28)
    if year % 4 == 0 and rng.random() < 0.1:
        month, day = 2, 29
    hour, minute, second = rng.choice(((0, 0, 0), (9, 0, 0), (23, 59, 59), (-1, 0, 0)))
    if hour < 0:
        hour, minute, second = rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59)
    return datetime(year, month, day, hour, minute, second)


def stamp(moment):
    return moment.strftime("%Y%m%dT%H%M%S")


def random_text(rng, *, sets=False):
    """A whole recurrence; about one in six is a set of rules and dates, or each one if `sets`."""
    start = random_start(rng)
    lines = [f"DTSTART:{stamp(start)}"]
    freq = rng.choice(FREQUENCIES)
    rule = random_rule(rng, freq)
    if "COUNT" not in rule and rng.random() < 0.2:
        rule += f";UNTIL={stamp(start + random_distance(rng, freq))}"
    lines.append(f"RRULE:{rule}")
    if rng.random() < 0.17 or sets:
        for name, probability in (("RRULE", 0.5), ("EXRULE", 0.5)):
            if rng.random() < probability:
                lines.append(f"{name}:{random_rule(rng, freq)}")
        for name in ("RDATE", "EXDATE"):
            if rng.random() < 0.5:
                dates = {stamp(start + random_distance(rng, freq)) for _ in range(rng.randint(1, 4))}
                lines.append(f"{name}:{','.join(dates)}")
    return "\n".join(lines)


def random_distance(rng, freq):
    units = rng.randint(0, 60)
    if freq in _STEP:
        return timedelta(seconds=_STEP[freq] * units)
    return timedelta(days=units * {"YEARLY": 365, "MONTHLY": 30, "WEEKLY": 7}[freq])


def is_hard(text):
    """A search through this text may be long: something of it lies decades apart, or is never met."""
    lines = [line for line in text.splitlines() if "RULE:" in line]
    if "EXRULE:" in text and any(freq in text for freq in FREQUENCIES[4:]):
        return True  # thousands of runs in a row may be excluded
    return any(
        line.count("BY") > 2 or ("INTERVAL=" in line and ("BYEASTER" in line or line.count("BY") > 1)) for line in lines
    )


def check(text, expected, rng, *, since=None, most=16, refusals=None):
    """Compare `Recurrence.after` with the runs expected, at reference times around them; the number of cases.

    Bounded work may end before a run is found. Such refusals of texts that are hard go to the list `refusals`
    where one is given, and are errors otherwise.
    """

    def refuse(what):
        assert refusals is not None, what
        assert is_hard(text), f"not hard: {what}"
        refusals.append(what)

    try:
        recurrence = Recurrence(text)
    except BadRecurrence as reason:
        # The oracle's walk through a set may end before it meets the rule that it would refuse.
        unmet = is_set(text) and "never reaches" in str(reason)
        if not (expected.refused or unmet):
            assert "COUNT" in text, f"{text!r} was refused: {reason}"
            assert STEPS_USED_UP.search(str(reason)), f"{text!r} was refused: {reason}"
            refuse(f"{text!r}: {reason}")
        return 1
    assert not expected.refused, f"{text!r} should be refused"
    runs, known_to = expected.runs, expected.known_to
    first = since if since is not None else unix(recurrence.start) - 1
    references = [first, first + 1]
    for run in runs if len(runs) <= most else rng.sample(runs, most):
        references += [run - 1, run, run + rng.randint(1, 100_000)]
    if known_to is not None:
        references += [known_to - 1, rng.randint(first, max(first, known_to))]
    for reference in references:
        if reference < first or (known_to is not None and reference > known_to):
            continue
        index = bisect_right(runs, reference)
        try:
            found = recurrence.after(reference)
        except BadRecurrence as reason:
            assert STEPS_USED_UP.search(str(reason)), f"{text!r} after {reference}: {reason}"
            # What lies beyond the oracle's own walk may be too far.
            if index < len(runs):
                refuse(f"{text!r} after {reference}: {reason}, not {runs[index]}")
            continue
        if index < len(runs):
            assert found == runs[index], f"{text!r} after {reference}: {found}, not {runs[index]}"
        elif known_to is None:
            assert found is None, f"{text!r} after {reference}: {found}, not None"
        else:
            assert found is None or found > known_to, f"{text!r} after {reference}: {found}, none is due to {known_to}"
    return len(references)


def check_near_start(rng, refusals=None):
    """Compare one generated recurrence from its DTSTART on."""
    text = random_text(rng)
    return check(text, walk(text), rng, refusals=refusals)


def check_far_from_start(rng, refusals=None):
    """One generated rule with its DTSTART long ago; python-dateutil starts later, in the same phase.

    What DTSTART fills in is the same at both starts; rules with COUNT cannot be moved so.
    """
    freq = rng.choice(FREQUENCIES[1:])
    rule = random_rule(rng, freq, ends=False)
    start = random_start(rng)
    interval = next((int(part[9:]) for part in rule.split(";") if part.startswith("INTERVAL=")), 1)
    if freq == "MONTHLY":
        start = start.replace(day=min(start.day, 28))
        later = start + relativedelta(months=interval * (rng.randint(1, 700) // interval))
    else:
        step = interval * _STEP.get(freq, 7 * 86_400)
        later = start + timedelta(seconds=step * (rng.randint(1, 2_000_000_000) // step))
    # In the first week, BYSETPOS counts from the start; the moved start must not show in what is compared.
    since = unix(later) + 7 * 86_400 if freq == "WEEKLY" and "BYSETPOS" in rule else unix(later) - 1
    expected = walk(f"DTSTART:{stamp(later)}\nRRULE:{rule}")
    return check(f"DTSTART:{stamp(start)}\nRRULE:{rule}", expected, rng, since=since, refusals=refusals)


def check_weeks(number, freq, wkst):
    """Compare each week that BYWEEKNO=number finds in 28 years (all kinds of years). Return the number of cases."""
    text = f"DTSTART:19971229T000000\nRRULE:FREQ={freq};WKST={wkst};BYWEEKNO={number};BYDAY=MO,TU,WE,TH,FR,SA,SU"
    expected = walk(text, periods=28 if freq == "YEARLY" else 1_461)
    return check(text, expected, Random(number), most=10_000)


def check_one(rng: Random, refusals: list[str] | None = None) -> int:
    """Compare one generated recurrence at many reference times. Return the number of cases."""
    return check_near_start(rng, refusals) if rng.random() < 0.6 else check_far_from_start(rng, refusals)
