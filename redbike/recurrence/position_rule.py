"""The rule with BYSETPOS over a week, month or year: period by period, leaping over those without a match."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import date

from redbike.recurrence.days import MONTHLY, WEEKLY, YEARLY, DayFilters, first_ordinal, month_starts, year_patterns
from redbike.recurrence.errors import Effort
from redbike.recurrence.firing_days import FiringDays
from redbike.recurrence.parts import Parts
from redbike.recurrence.times import TimesOfDay, picked
from redbike.recurrence.wall import DAY_S, EPOCH_ORDINAL, LAST_ORDINAL, LAST_WALL, LAST_YEAR

# After 400 years weekdays and leap years repeat; so many periods of an INTERVAL show all there is to see.
_PERIODS_OF_A_CYCLE = {YEARLY: 400, MONTHLY: 4_800, WEEKLY: 20_871}
# Easter's own cycle is 5.7 million years: with BYEASTER, this is the horizon.
_EASTER_PERIODS = 1_000


class PositionRule:
    """BYSETPOS in a YEARLY, MONTHLY or WEEKLY rule: occurrences picked by their place in the period."""

    __slots__ = (
        "_days",
        "_first_period",
        "_none_after",
        "_parts",
        "_patterns",
        "_picked",
        "_start",
        "_start_ordinal",
        "_times",
    )

    def __init__(self, parts: Parts, filters: DayFilters, times: TimesOfDay, start: int) -> None:
        self._parts, self._times, self._start = parts, times, start
        self._patterns = year_patterns(filters)
        self._start_ordinal = start // DAY_S + EPOCH_ORDINAL
        self._days = FiringDays(filters, parts.freq, parts.interval, self._start_ordinal)
        self._first_period = self._period(self._start_ordinal)
        self._picked: dict[int, list[tuple[int, int]]] = {}
        # From here on a search has found no run.
        self._none_after = LAST_WALL + 1

    def after(self, wall: int, effort: Effort) -> int | None:
        if wall >= self._none_after:
            return None
        wall = max(wall, self._start - 1)
        begin = 0
        for empty, (period, first, bits) in enumerate(self._matching_periods(wall, effort)):
            begin = begin or period
            picks = self._picks(bits.bit_count(), effort)
            if picks:
                moment = _moments(first, bits, self._times)
                index = bisect_right(picks, wall, key=moment)
                if index < len(picks):
                    found = moment(picks[index])
                    return found if found <= LAST_WALL else None
            if self._seen_all(period - begin, empty):
                break
        self._none_after = wall
        return None

    def nth(self, number: int, effort: Effort) -> int | None:
        """Whole periods are counted by their picks."""
        begin = empty = 0
        for period, first, bits in self._matching_periods(self._start, effort):
            picks = self._picks(bits.bit_count(), effort)
            if picks and first <= self._start_ordinal:
                # The first period may have begun before the start.
                picks = picks[bisect_right(picks, self._start - 1, key=_moments(first, bits, self._times)) :]
            if number <= len(picks):
                found = _moments(first, bits, self._times)(picks[number - 1])
                return found if found <= LAST_WALL else None
            number -= len(picks)
            begin, empty = (period, 0) if picks or not begin else (begin, empty + 1)
            if self._seen_all(period - begin, empty):
                return None
        return None

    def _seen_all(self, periods: int, empty: int) -> bool:
        """So many periods without a run, so many of them with matching days, show that there is none."""
        # Two more than a cycle: the first period may be cut by the start, the last one by the question.
        cycle = (2 + _PERIODS_OF_A_CYCLE[self._parts.freq]) * self._parts.interval
        return empty > _EASTER_PERIODS if self._parts.by_easter else periods > cycle

    def _matching_periods(self, wall: int, effort: Effort) -> Iterator[tuple[int, int, int]]:
        """Number, first ordinal and day bits of each allowed period with a matching day, from that of `wall` on."""
        period = self._period(min(wall // DAY_S + EPOCH_ORDINAL, LAST_ORDINAL))
        period += (self._first_period - period) % self._parts.interval
        while True:
            year, first, days = self._span(period)
            if first > LAST_ORDINAL:
                return
            effort.spend(1, (first - EPOCH_ORDINAL) * DAY_S)
            bits = self._patterns.of(year) >> (first - first_ordinal(year)) & ((1 << days) - 1)
            if bits:
                yield period, first, bits
                period += self._parts.interval
            else:
                day = self._days.at_or_after(first + days, effort)
                if day is None:
                    return
                period = self._period(day)

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

    def _picks(self, days: int, effort: Effort) -> list[tuple[int, int]]:
        """What BYSETPOS picks where so many days match."""
        picks = self._picked.get(days)
        if picks is None:
            effort.spend(len(self._parts.by_set_pos))
            picks = self._picked[days] = picked(self._times.count, days, self._parts.by_set_pos)
        return picks


def _moments(first: int, bits: int, times: TimesOfDay) -> Callable[[tuple[int, int]], int]:
    """The wall seconds of a pick in the period that begins with the ordinal `first`."""

    def moment(pick: tuple[int, int]) -> int:
        return (first + days[pick[0]] - EPOCH_ORDINAL) * DAY_S + times.nth(pick[1])

    days = [day for day, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"]
    return moment
