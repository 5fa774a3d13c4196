"""The rule with BYSETPOS over a week, month or year: period by period, leaping over those without a match."""

from bisect import bisect_right
from datetime import date

from redbike.recurrence.days import MONTHLY, WEEKLY, YEARLY, DayFilters, first_ordinal, month_starts, year_patterns
from redbike.recurrence.errors import Effort
from redbike.recurrence.firing_days import FiringDays
from redbike.recurrence.parts import Parts
from redbike.recurrence.times import TimesOfDay, picked
from redbike.recurrence.wall import DAY_S, EPOCH_ORDINAL, LAST_ORDINAL, LAST_WALL, LAST_YEAR, nth_by_steps

# After 400 years weekdays and leap years repeat; so many periods of an INTERVAL show all there is to see.
_PERIODS_OF_A_CYCLE = {YEARLY: 400, MONTHLY: 4_800, WEEKLY: 20_871}
# Easter's own cycle is 5.7 million years: with BYEASTER, this is the horizon.
_EASTER_PERIODS = 1_000


class PositionRule:
    """BYSETPOS in a YEARLY, MONTHLY or WEEKLY rule: occurrences picked by their place in the period."""

    __slots__ = ("_days", "_first_period", "_parts", "_patterns", "_picked", "_start", "_start_ordinal", "_times")

    def __init__(self, parts: Parts, filters: DayFilters, times: TimesOfDay, start: int) -> None:
        self._parts, self._times, self._start = parts, times, start
        self._patterns = year_patterns(filters)
        self._start_ordinal = start // DAY_S + EPOCH_ORDINAL
        self._days = FiringDays(filters, parts.freq, parts.interval, self._start_ordinal)
        self._first_period = self._period(self._start_ordinal)
        self._picked: dict[int, list[tuple[int, int]]] = {}

    def after(self, wall: int, effort: Effort) -> int | None:
        wall = max(wall, self._start - 1)
        period = self._period(min(wall // DAY_S + EPOCH_ORDINAL, LAST_ORDINAL))
        period += (self._first_period - period) % self._parts.interval
        # Two more than a cycle: the first period may be cut by the start, the last one by `wall`.
        periods = _EASTER_PERIODS if self._parts.by_easter else 2 + _PERIODS_OF_A_CYCLE[self._parts.freq]
        while periods:
            year, first, days = self._span(period)
            if first > LAST_ORDINAL:
                return None
            effort.spend(1)
            bits = self._patterns.of(year) >> (first - first_ordinal(year)) & ((1 << days) - 1)
            if bits:
                found = self._first_in_period(first, bits, wall)
                if found is not None:
                    return found if found <= LAST_WALL else None
                period += self._parts.interval
            else:
                day = self._days.at_or_after(first + days, effort)
                if day is None:
                    return None
                period = self._period(day)
            periods -= 1
        return None

    def nth(self, number: int, effort: Effort) -> int | None:
        return nth_by_steps(self, self._start, number, effort)

    def _period(self, ordinal: int) -> int:
        if self._parts.freq == WEEKLY:
            return (ordinal - 1 - self._parts.wkst) // 7
        day = date.fromordinal(ordinal)
        return day.year if self._parts.freq == YEARLY else day.year * 12 + day.month - 1

    def _span(self, period: int) -> tuple[int, int, int]:
        """The year whose calendar judges the period, its first day's ordinal and its length in days."""
        if self._parts.freq == YEARLY:
            first = first_ordinal(period)
            return period, first, first_ordinal(period + 1) - first
        if self._parts.freq == MONTHLY:
            year, month = divmod(period, 12)
            starts = month_starts(year)
            return year, first_ordinal(year) + starts[month], starts[month + 1] - starts[month]
        first = period * 7 + 1 + self._parts.wkst
        end = first + 7
        if period == self._first_period:
            # The first week begins with the start itself: positions count from there.
            first = self._start_ordinal
        year = date.fromordinal(first).year if first <= LAST_ORDINAL else LAST_YEAR + 1
        return year, first, end - first

    def _first_in_period(self, first: int, bits: int, wall: int) -> int | None:
        matching = bits.bit_count()
        picks = self._picked.get(matching)
        if picks is None:
            picks = self._picked[matching] = picked(self._times.count, matching, self._parts.by_set_pos)
        if not picks:
            return None
        starts = [(first + day - EPOCH_ORDINAL) * DAY_S for day in range(bits.bit_length()) if bits >> day & 1]

        def moment(pick: tuple[int, int]) -> int:
            return starts[pick[0]] + self._times.nth(pick[1])

        index = bisect_right(picks, wall, key=moment)
        return moment(picks[index]) if index < len(picks) else None
