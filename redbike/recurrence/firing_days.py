"""The days on which a rule fires: its day filters (days.py) in the periods that its INTERVAL allows."""

from datetime import date
from math import gcd

from redbike.recurrence.days import (
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
from redbike.recurrence.errors import Effort
from redbike.recurrence.wall import DAY_S, EPOCH_ORDINAL, LAST_ORDINAL, LAST_YEAR

_PERIODS_OF_400_YEARS = {YEARLY: 400, MONTHLY: 4_800, WEEKLY: 20_871, DAILY: 146_097}
_LATER = LAST_ORDINAL + 1


class FiringDays:
    """The days on which a rule may fire: those its filters and its INTERVAL allow."""

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
        # These two alone can differ between the calendars of the two years that share a week.
        self._week_by_week = filters.freq == WEEKLY and bool(filters.week_numbers or filters.easter_days)
        phases = {YEARLY: self._years, MONTHLY: self._months, WEEKLY: self._weeks, DAILY: self._single_days}
        self._phase = phases[min(freq, DAILY)] if interval > 1 else None
        self._year_steps = 3 if self._week_by_week and filters.easter_days else 2
        self._kind_steps = filters.steps()
        self._examined = 0
        self._stride = 7 * interval if freq == WEEKLY else interval
        self._strides = self._strided_days() if interval > 1 else 0
        # The calendar repeats after 400 years; with an INTERVAL, once these are whole steps of it. Easter does not.
        periods = _PERIODS_OF_400_YEARS[min(freq, DAILY)]
        self._cycle = LAST_YEAR if filters.easter_days else 400 * (interval // gcd(interval, periods))
        # The last long search: from the first of these ordinals on, no day before the second.
        self._empty = (0, -1)

    def every_day(self) -> bool:
        return self._patterns is None and self._phase is None

    def bits(self, year: int) -> int:
        """The days of this year, bit 0 being 1 January."""
        bits = (1 << 365 + is_leap(year)) - 1
        if self._patterns is not None:
            bits &= self._patterns.of(year)
            if self._week_by_week and year > self._start_year:
                bits = self._with_shared_week(year, bits)
        if bits and self._phase is not None:
            bits &= self._phase(year)
        return bits

    def at_or_after(self, ordinal: int, effort: Effort) -> int | None:
        """The first such day that is not before this one."""
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
            end = self._in_later_years(year, effort)
            self._empty = (ordinal, end)
        return end if end < _LATER else None

    def _in_later_years(self, year: int, effort: Effort) -> int:
        last = min(year + self._cycle, LAST_YEAR)
        while (year := self.next_year(year)) <= last:
            if self._examined == KINDS and self._patterns is not None and self._patterns.are_empty(effort):
                self._cycle = 0
                break
            effort.spend(self.steps(), (first_ordinal(year) - EPOCH_ORDINAL) * DAY_S)
            bits = self.bits(year)
            if bits:
                return first_ordinal(year) + (bits & -bits).bit_length() - 1
        return _LATER

    def steps(self) -> int:
        """What the bits of one more year cost: the kinds of year are worked out once, among the first of them."""
        self._examined += 1
        return self._year_steps + (self._kind_steps if self._examined <= KINDS else 0)

    def next_year(self, year: int) -> int:
        """The first later year with a day of a period that the INTERVAL allows."""
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
        """The start, or for a WEEKLY rule the beginning of its week."""
        return self._start - (self._start - 1 - self._filters.wkst) % 7 if self._freq == WEEKLY else self._start

    def _with_shared_week(self, year: int, bits: int) -> int:
        """The days before the first week start are judged by the calendar of the year before."""
        assert self._patterns is not None
        first = first_ordinal(year)
        shared = (1 << (self._filters.wkst - first - 6) % 7) - 1
        before = self._patterns.of(year - 1) >> (first - first_ordinal(year - 1))
        return bits & ~shared | before & shared

    def _strided_days(self) -> int:
        """The pattern that an INTERVAL of days or weeks lays over a year, beginning with an allowed one."""
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
