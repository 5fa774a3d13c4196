"""The days on which a rule fires, and the times of day.

Days are those that pass the day filters (days.py), in the periods that INTERVAL allows. Times are seconds after
midnight, in order; they know no dates.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import date
from math import gcd
from typing import Protocol

from redbike.schedule.rrule.clock import DAY_S, EPOCH_ORDINAL, LAST_ORDINAL, LAST_YEAR
from redbike.schedule.rrule.days import (
    DAILY,
    KINDS,
    MONTHLY,
    WEEKLY,
    YEARLY,
    DayFilters,
    first_ordinal,
    is_leap,
    month_starts,
    year_patterns,
)
from redbike.schedule.rrule.errors import Budget

_PERIODS_OF_400_YEARS = {YEARLY: 400, MONTHLY: 4_800, WEEKLY: 20_871, DAILY: 146_097}
_LATER = LAST_ORDINAL + 1
# Up to this number a plain sorted tuple is fastest. BYHOUR, BYMINUTE and BYSECOND can multiply to 86,400.
_LISTED_TIMES = 150


class FiringDays:
    """The days on which a rule may fire: the days that its filters and its INTERVAL allow."""

    __slots__ = (
        "_cycle",
        "_empty",
        "_examined",
        "_filters",
        "_freq",
        "_interval",
        "_kind_steps",
        "_patterns",
        "_phase",
        "_start",
        "_start_month",
        "_start_year",
        "_stride",
        "_strides",
        "_week_by_week",
        "_year_steps",
    )

    def __init__(self, filters: DayFilters, freq: int, interval: int, start_ordinal: int) -> None:
        self._filters = filters
        self._patterns = None if filters.let_all_through() else year_patterns(filters)
        self._freq = freq
        self._interval = interval
        self._start = start_ordinal
        start = date.fromordinal(start_ordinal)
        self._start_year, self._start_month = start.year, start.year * 12 + start.month - 1
        # Only these two filters can differ between the calendars of the two years that share a week.
        self._week_by_week = filters.freq == WEEKLY and bool(filters.week_numbers or filters.easter_days)
        phases = {YEARLY: self._years, MONTHLY: self._months, WEEKLY: self._weeks, DAILY: self._single_days}
        self._phase = phases[min(freq, DAILY)] if interval > 1 else None
        self._year_steps = 3 if self._week_by_week and filters.easter_days else 2
        self._kind_steps = filters.steps()
        self._examined = 0
        self._stride = 7 * interval if freq == WEEKLY else interval
        self._strides = self._strided_days() if interval > 1 else 0
        # The calendar repeats after 400 years: with an INTERVAL, after the first multiple that is a whole number of its
        # steps. Easter does not repeat then.
        periods = _PERIODS_OF_400_YEARS[min(freq, DAILY)]
        self._cycle = LAST_YEAR if filters.easter_days else 400 * (interval // gcd(interval, periods))
        # The last long search: from the first ordinal on, there is no day before the second.
        self._empty = (0, -1)

    def every_day(self) -> bool:
        """Return True if neither filters nor INTERVAL exclude a day."""
        return self._patterns is None and self._phase is None

    def bits(self, year: int) -> int:
        """Return the days of this year as bits; bit 0 is 1 January."""
        bits = (1 << 365 + is_leap(year)) - 1
        if self._patterns is not None:
            bits &= self._patterns.of(year)
            if self._week_by_week and year > self._start_year:
                bits = self._with_shared_week(year, bits)
        if bits and self._phase is not None:
            bits &= self._phase(year)
        return bits

    def at_or_after(self, ordinal: int, budget: Budget) -> int | None:
        """Return the first firing day at or after this ordinal; None if no day follows up to the year 9999."""
        if ordinal > LAST_ORDINAL:
            return None
        if self._patterns is None and self._phase is None:
            return ordinal
        year = date.fromordinal(ordinal).year
        first = first_ordinal(year)
        bits = self.bits(year) >> (ordinal - first)
        if bits:
            return ordinal + (bits & -bits).bit_length() - 1
        begin, end = self._empty
        if not begin <= ordinal <= end:
            end = self._in_later_years(year, budget)
            self._empty = (ordinal, end)
        return end if end < _LATER else None

    def _in_later_years(self, year: int, budget: Budget) -> int:
        last = min(year + self._cycle, LAST_YEAR)
        while (year := self.next_year(year)) <= last:
            if self._examined == KINDS and self._patterns is not None and self._patterns.are_empty(budget):
                self._cycle = 0
                break
            budget.spend(self.steps(), (first_ordinal(year) - EPOCH_ORDINAL) * DAY_S)
            bits = self.bits(year)
            if bits:
                return first_ordinal(year) + (bits & -bits).bit_length() - 1
        return _LATER

    def steps(self) -> int:
        """Return the cost of the bits of one more year. Early years cost more, because their kinds must be computed."""
        self._examined += 1
        return self._year_steps + (self._kind_steps if self._examined <= KINDS else 0)

    def next_year(self, year: int) -> int:
        """Return the first later year with a day of a period that the INTERVAL allows."""
        year += 1
        if self._freq == YEARLY:
            return year + (self._start_year - year) % self._interval
        if self._freq == MONTHLY:
            month = year * 12
            return (month + (self._start_month - month) % self._interval) // 12
        if self._stride <= 365:
            return year
        # Up to six days of an allowed week may lie before 1 January.
        first = first_ordinal(year)
        earliest = first - 6 if self._freq == WEEKLY else first
        ordinal = max(first, earliest + (self._origin() - earliest) % self._stride)
        return LAST_YEAR + 1 if ordinal > LAST_ORDINAL else date.fromordinal(ordinal).year

    def _origin(self) -> int:
        """Return the ordinal of the start, or of the first day of its week for a WEEKLY rule."""
        return self._start - (self._start - 1 - self._filters.wkst) % 7 if self._freq == WEEKLY else self._start

    def _with_shared_week(self, year: int, bits: int) -> int:
        """Return the bits of a year whose first days belong to a week, and so to the calendar, of the year before."""
        assert self._patterns is not None
        first = first_ordinal(year)
        shared = (1 << (self._filters.wkst - first - 6) % 7) - 1
        before = self._patterns.of(year - 1) >> (first - first_ordinal(year - 1))
        return bits & ~shared | before & shared

    def _strided_days(self) -> int:
        """Return the pattern of an INTERVAL of days or weeks over a year that begins with an allowed day or week."""
        one = (1 << 7) - 1 if self._freq == WEEKLY else 1
        return sum(one << first for first in range(0, 366 + 2 * 7, self._stride))

    def _years(self, year: int) -> int:
        return 0 if (year - self._start_year) % self._interval else (1 << 366) - 1

    def _months(self, year: int) -> int:
        starts = month_starts(year)
        earliest = (self._start_month - year * 12) % self._interval
        return sum((1 << starts[month + 1]) - (1 << starts[month]) for month in range(earliest, 12, self._interval))

    def _weeks(self, year: int) -> int:
        shift = (self._origin() - (first_ordinal(year) - 6)) % self._stride - 6
        if shift > 366:
            return 0
        return self._strides << shift if shift >= 0 else self._strides >> -shift

    def _single_days(self, year: int) -> int:
        shift = (self._start - first_ordinal(year)) % self._interval
        return self._strides << shift if shift <= 366 else 0


class TimesOfDay(Protocol):
    """An ordered choice of seconds of the day."""

    count: int

    def at_or_after(self, second: int) -> int | None:
        """Return the first chosen second at or after this second; None if there is no other that day."""

    def rank(self, second: int) -> int:
        """Return the number of chosen seconds before this second."""

    def nth(self, index: int) -> int:
        """Return the chosen second with this 0-based index."""


class ListedTimes:
    """Times of day as a list."""

    __slots__ = ("_times", "count")

    def __init__(self, times: Sequence[int]) -> None:
        self._times = tuple(times)
        self.count = len(self._times)

    def at_or_after(self, second: int) -> int | None:
        """Return the first chosen second at or after this second; None if there is no other that day."""
        index = bisect_left(self._times, second)
        return self._times[index] if index < self.count else None

    def rank(self, second: int) -> int:
        """Return the number of chosen seconds before this second."""
        return bisect_left(self._times, second)

    def nth(self, index: int) -> int:
        """Return the chosen second with this 0-based index."""
        return self._times[index]


class ProductTimes:
    """Every chosen hour with every chosen minute and second. The product is never built."""

    __slots__ = ("_hours", "_minutes", "_seconds", "count")

    def __init__(self, hours: Sequence[int], minutes: Sequence[int], seconds: Sequence[int]) -> None:
        self._hours, self._minutes, self._seconds = tuple(hours), tuple(minutes), tuple(seconds)
        self.count = len(self._hours) * len(self._minutes) * len(self._seconds)

    def at_or_after(self, second: int) -> int | None:
        """Return the first chosen second at or after this second; None if there is no other that day."""
        index = self.rank(second)
        return self.nth(index) if index < self.count else None

    def rank(self, second: int) -> int:
        """Return the number of chosen seconds before this second."""
        hour, rest = divmod(second, 3600)
        minute, second = divmod(rest, 60)
        hours_before = bisect_left(self._hours, hour)
        if bisect_right(self._hours, hour) == hours_before:
            return hours_before * len(self._minutes) * len(self._seconds)
        minutes_before = bisect_left(self._minutes, minute)
        seconds_before = 0
        if bisect_right(self._minutes, minute) > minutes_before:
            seconds_before = bisect_left(self._seconds, second)
        return (hours_before * len(self._minutes) + minutes_before) * len(self._seconds) + seconds_before

    def nth(self, index: int) -> int:
        """Return the chosen second with this 0-based index."""
        rest, second = divmod(index, len(self._seconds))
        hour, minute = divmod(rest, len(self._minutes))
        return self._hours[hour] * 3600 + self._minutes[minute] * 60 + self._seconds[second]


def times_of_day(hours: Sequence[int], minutes: Sequence[int], seconds: Sequence[int]) -> TimesOfDay:
    """Return every chosen hour with every chosen minute and second. The choices are sorted and not empty."""
    product = ProductTimes(hours, minutes, seconds)
    if product.count > _LISTED_TIMES:
        return product
    return ListedTimes([product.nth(index) for index in range(product.count)])


def picked(size: int, days: int, positions: Sequence[int]) -> list[tuple[int, int]]:
    """Return the (day index, time index) pairs that the positions of BYSETPOS name, in order.

    A period has `days` matching days with `size` times each. Positions count from 1, or from -1 at the end.
    """
    last = days * size
    indexes = {position - 1 if position > 0 else last + position for position in positions}
    return [divmod(index, size) for index in sorted(indexes) if 0 <= index < last]
