"""The days of a year that pass a rule's day filters, as the bits of one integer (bit 0 is 1 January).

The filters depend only on the length of a year, its first weekday and the lengths of its two neighbours. So there are
only a few *kinds* of year. Filters behave like those of python-dateutil, oddities included (docs/recurrence.md).
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from dateutil.easter import easter

from redbike.schedule.rrule.errors import Budget

YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY = range(7)
FREQUENCIES = {
    "YEARLY": YEARLY,
    "MONTHLY": MONTHLY,
    "WEEKLY": WEEKLY,
    "DAILY": DAILY,
    "HOURLY": HOURLY,
    "MINUTELY": MINUTELY,
    "SECONDLY": SECONDLY,
}
FREQUENCY_NAMES = tuple(FREQUENCIES)
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

# The calendar of the year in which a week begins decides about the whole week. So each pattern includes seven days
# of the following January.
TAIL_DAYS = 7
_EVERY_SEVENTH = sum(1 << day for day in range(0, 373, 7))
_MONTH_STARTS = (
    (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365),
    (0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335, 366),
)


class DayFilters(NamedTuple):
    """The BY parts that choose days; an empty tuple does not filter."""

    freq: int
    wkst: int
    months: tuple[int, ...]
    month_days: tuple[int, ...]
    year_days: tuple[int, ...]
    week_numbers: tuple[int, ...]
    weekdays: tuple[int, ...]
    nth_weekdays: tuple[tuple[int, int], ...]
    easter_days: tuple[int, ...]

    def let_all_through(self) -> bool:
        """Return True if no part filters days."""
        return not any(self[2:])

    def steps(self) -> int:
        """Return the cost of computing one kind of year, in steps of Budget."""
        return 20 + len(self.year_days) + 4 * len(self.month_days) + 2 * len(self.nth_weekdays) + len(self.week_numbers)


def is_leap(year: int) -> bool:
    """Return True for a leap year of the Gregorian calendar."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def first_ordinal(year: int) -> int:
    """Return the proleptic Gregorian ordinal of 1 January, as ``date.toordinal`` counts."""
    before = year - 1
    return before * 365 + before // 4 - before // 100 + before // 400 + 1


def month_starts(year: int) -> tuple[int, ...]:
    """Return the 0-based day of the year on which each month begins, and the year's length as a 13th entry."""
    return _MONTH_STARTS[is_leap(year)]


def _kind(year: int) -> int:
    weekday = (first_ordinal(year) + 6) % 7
    return weekday + 7 * (is_leap(year) + 2 * is_leap(year - 1) + 4 * is_leap(year + 1))


_EASTER_SUNDAYS = range(80, 116)  # 22 March to 25 April, as 0-based days of the year
_EMPTY_STEPS = 600
KINDS = 28  # of years that exist: by first weekday, and by which of this year and its neighbours are leap years
# The Gregorian calendar repeats after 400 years, weekdays included.
_KINDS = tuple(_kind(year) for year in range(400, 800))


@lru_cache(maxsize=512)
def year_patterns(filters: DayFilters) -> "YearPatterns":
    """Return the patterns of these filters. Rules share them, because patterns do not depend on a start."""
    return YearPatterns(filters)


class YearPatterns:
    """The days that pass the filters, per year. Each kind of year is computed once."""

    __slots__ = ("_by_kind", "_easter", "_filters")

    def __init__(self, filters: DayFilters) -> None:
        self._filters = filters
        self._by_kind: dict[int, int] = {}
        # BYEASTER as if Easter Sunday were 1 January. Days after the end of the year wrap round, as in python-dateutil.
        self._easter = [
            _union(1 << offset % (days + TAIL_DAYS) for offset in filters.easter_days) for days in (365, 366)
        ]

    def of(self, year: int) -> int:
        """Return the bits of the days of this year and of the first seven days of the next year."""
        kind = _KINDS[year % 400]
        bits = self._by_kind.get(kind)
        if bits is None:
            bits = _pattern(self._filters, _Year(year))
            if self._filters.easter_days:
                bits &= _union(self._easter_bits(year, sunday) for sunday in _EASTER_SUNDAYS)
            self._by_kind[kind] = bits
        if bits and self._filters.easter_days:
            bits &= self._easter_bits(year, _easter_sunday(year))
        return bits

    def are_empty(self, budget: Budget) -> bool:
        """Return True if no day of any kind of year passes the filters, whatever its Easter Sunday."""
        budget.spend(_EMPTY_STEPS)
        years = {_KINDS[year % 400]: year for year in range(400, 800)}
        if not self._filters.easter_days:
            return not any(map(self.of, years.values()))
        for kind, year in years.items():
            self.of(year)
            if any(self._by_kind[kind] & self._easter_bits(year, sunday) for sunday in _EASTER_SUNDAYS):
                return False
        return True

    def _easter_bits(self, year: int, sunday: int) -> int:
        leap = is_leap(year)
        return self._easter[leap] << sunday | self._easter[leap] >> 365 + leap + TAIL_DAYS - sunday


class _Year:
    """The facts about a year that the filters use."""

    __slots__ = ("days", "first_weekday", "next_days", "previous_days", "starts")

    def __init__(self, year: int) -> None:
        self.days = 365 + is_leap(year)
        self.next_days = 365 + is_leap(year + 1)
        self.previous_days = 365 + is_leap(year - 1)
        self.first_weekday = (first_ordinal(year) + 6) % 7
        self.starts = month_starts(year)


def _pattern(filters: DayFilters, year: _Year) -> int:
    bits = (1 << (year.days + TAIL_DAYS)) - 1
    if filters.months:
        bits &= _union(_month_bits(year, month) for month in filters.months)
    if filters.month_days:
        bits &= _union(_month_day_bits(year, day) for day in filters.month_days)
    if filters.year_days:
        bits &= _union(_year_day_bits(year, day) for day in filters.year_days)
    if filters.weekdays:
        bits &= _union(_weekday_bits(year, weekday) for weekday in filters.weekdays)
    if filters.nth_weekdays:
        bits &= _nth_weekday_bits(year, filters)
    if filters.week_numbers:
        bits &= _week_number_bits(year, filters.wkst, filters.week_numbers)
    return bits


def _union(patterns: Iterable[int]) -> int:
    union = 0
    for bits in patterns:
        union |= bits
    return union


def _run(first: int, days: int) -> int:
    """Return `days` bits, starting at day `first`. Bits before 1 January are cut off."""
    bits = (1 << days) - 1
    return bits << first if first >= 0 else bits >> -first


def _month_bits(year: _Year, month: int) -> int:
    bits = _run(year.starts[month - 1], year.starts[month] - year.starts[month - 1])
    return bits | _run(year.days, TAIL_DAYS) if month == 1 else bits


def _month_day_bits(year: _Year, day: int) -> int:
    bits = 0
    for start, end in zip(year.starts, (*year.starts[1:], year.days + 31), strict=True):
        index = start + day - 1 if day > 0 else end + day
        if start <= index < end:
            bits |= 1 << index
    return bits


def _year_day_bits(year: _Year, day: int) -> int:
    bits = 0
    for start, days in ((0, year.days), (year.days, year.next_days)):
        index = day - 1 if day > 0 else days + day
        if 0 <= index < days:
            bits |= 1 << (start + index)
    return bits


def _weekday_bits(year: _Year, weekday: int) -> int:
    return _EVERY_SEVENTH << ((weekday - year.first_weekday) % 7)


def _nth_weekday_bits(year: _Year, filters: DayFilters) -> int:
    """Return the days of BYDAY with ordinals. These count per month, or per year for a YEARLY rule without BYMONTH."""
    if filters.freq == YEARLY and not filters.months:
        spans = [(0, year.days)]
    else:
        months = filters.months if filters.freq == YEARLY else range(1, 13)
        spans = [(year.starts[month - 1], year.starts[month]) for month in months]
    most = max((end - start + 6) // 7 for start, end in spans)
    pairs = [pair for pair in filters.nth_weekdays if abs(pair[1]) <= most]
    bits = 0
    for start, end in spans:
        for weekday, nth in pairs:
            if nth > 0:
                index = start + (weekday - year.first_weekday - start) % 7 + 7 * (nth - 1)
            else:
                index = end - 1 - (year.first_weekday + end - 1 - weekday) % 7 + 7 * (nth + 1)
            if start <= index < end:
                bits |= 1 << index
    return bits


def _week_number_bits(year: _Year, wkst: int, numbers: tuple[int, ...]) -> int:
    """Return the days of BYWEEKNO. As in ISO 8601, week 1 is the first with at least four days in the year."""
    first_week_start = (wkst - year.first_weekday) % 7
    week_1 = first_week_start if first_week_start < 4 else first_week_start - 7
    counted_days = year.days - week_1
    weeks = counted_days // 7 + (counted_days % 7 >= 4)
    bits = 0
    for number in numbers:
        week = number if number > 0 else weeks + 1 + number
        if 1 <= week <= weeks:
            bits |= _run(week_1 + 7 * (week - 1), 7)
    if 1 in numbers and week_1 + 7 * weeks < year.days:
        bits |= _run(week_1 + 7 * weeks, 7)
    if week_1 > 0 and (-1 in numbers or _last_week_before(year, wkst, week_1) in numbers):
        bits |= _run(0, week_1)
    return bits


def _last_week_before(year: _Year, wkst: int, week_1: int) -> int:
    """Return the number that python-dateutil gives to the last week of the previous year.

    It is one too high if that year began one to three days before its first week. Kept, so that results are equal.
    """
    previous_first_weekday = (year.first_weekday - year.previous_days) % 7
    previous_week_start = (wkst - previous_first_weekday) % 7
    if previous_week_start >= 4:
        return 52 + ((year.previous_days - previous_week_start) % 7 >= 4)
    return 52 + ((year.days - week_1) % 7 >= 4)


@lru_cache(maxsize=16)
def _easter_sunday(year: int) -> int:
    """Return Easter Sunday as the 0-based day of the year."""
    return easter(year).toordinal() - first_ordinal(year)
