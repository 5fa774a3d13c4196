"""The days on which a rule fires: its day filters (days.py) in the periods that its INTERVAL allows."""

from datetime import date

from redbike.recurrence.days import (
    DAILY,
    MONTHLY,
    WEEKLY,
    YEARLY,
    DayFilters,
    first_ordinal,
    month_starts,
    year_patterns,
)
from redbike.recurrence.errors import Effort
from redbike.recurrence.wall import LAST_ORDINAL, LAST_YEAR


class FiringDays:
    """The days on which a rule may fire: those its filters and its INTERVAL allow."""

    __slots__ = (
        "_filters",
        "_freq",
        "_interval",
        "_patterns",
        "_phase",
        "_start",
        "_start_year",
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
        self._start_year = date.fromordinal(start_ordinal).year
        # These two alone can differ between the calendars of the two years that share a week.
        self._week_by_week = filters.freq == WEEKLY and bool(filters.week_numbers or filters.easter_days)
        phases = {YEARLY: self._years, MONTHLY: self._months, WEEKLY: self._weeks, DAILY: self._single_days}
        self._phase = phases[min(freq, DAILY)] if interval > 1 else None
        self._year_steps = 3 if filters.easter_days else 1
        self._strides = self._strided_days() if interval > 1 else 0

    def every_day(self) -> bool:
        return self._patterns is None and self._phase is None

    def bits(self, year: int) -> int:
        """The days of this year, bit 0 being 1 January."""
        first = first_ordinal(year)
        days = first_ordinal(year + 1) - first
        bits = (1 << days) - 1
        if self._phase is not None:
            bits &= self._phase(year)
        if bits and self._patterns is not None:
            bits &= self._patterns.of(year)
            if self._week_by_week and year > self._start_year:
                bits = self._with_shared_week(year, first, bits)
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
        years = self._years_after(year)
        for examined, later in enumerate(years, 1):
            bits = self.bits(later)
            if bits:
                effort.spend(examined * self._year_steps)
                return first_ordinal(later) + (bits & -bits).bit_length() - 1
        effort.spend(len(years) * self._year_steps)
        return None

    def _years_after(self, year: int) -> range:
        if self._freq != YEARLY:
            return range(year + 1, LAST_YEAR + 1)
        return range(year + 1 + (self._start_year - year - 1) % self._interval, LAST_YEAR + 1, self._interval)

    def _with_shared_week(self, year: int, first: int, bits: int) -> int:
        """The days before the first week start are judged by the calendar of the year before."""
        assert self._patterns is not None
        shared = (1 << (self._filters.wkst - first - 6) % 7) - 1
        before = self._patterns.of(year - 1) >> (first - first_ordinal(year - 1))
        if self._phase is not None:
            before &= self._phase(year)
        return bits & ~shared | before & shared

    def _strided_days(self) -> int:
        """The pattern that an INTERVAL of days or weeks lays over a year, beginning with an allowed one."""
        width, stride = (7, 7 * self._interval) if self._freq == WEEKLY else (1, self._interval)
        one = (1 << width) - 1
        return sum(one << first for first in range(0, 366 + 2 * 7, stride))

    def _years(self, year: int) -> int:
        return 0 if (year - self._start_year) % self._interval else (1 << 366) - 1

    def _months(self, year: int) -> int:
        start = date.fromordinal(self._start)
        starts = month_starts(year)
        earliest = (start.year * 12 + start.month - 1 - year * 12) % self._interval
        return sum((1 << starts[month + 1]) - (1 << starts[month]) for month in range(earliest, 12, self._interval))

    def _weeks(self, year: int) -> int:
        first = first_ordinal(year)
        stride = 7 * self._interval
        week_start = self._start - (self._start - 1 - self._filters.wkst) % 7
        # Up to six days of an allowed week may lie before 1 January.
        shift = (week_start - (first - 6)) % stride - 6
        if shift > 366:
            return 0
        return self._strides << shift if shift >= 0 else self._strides >> -shift

    def _single_days(self, year: int) -> int:
        shift = (self._start - first_ordinal(year)) % self._interval
        return self._strides << shift if shift <= 366 else 0
