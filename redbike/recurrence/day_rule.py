"""The rule that fires at the same times on each of its days: almost all rules there are."""

from datetime import date

from redbike.recurrence.days import first_ordinal
from redbike.recurrence.errors import Effort
from redbike.recurrence.firing_days import FiringDays
from redbike.recurrence.times import TimesOfDay
from redbike.recurrence.wall import DAY_S, EPOCH_ORDINAL, LAST_YEAR


class DayRule:
    """Every allowed day with every time of day: almost all rules there are."""

    __slots__ = ("_days", "_start", "_times")

    def __init__(self, days: FiringDays, times: TimesOfDay, start: int) -> None:
        self._days, self._times, self._start = days, times, start

    def after(self, wall: int, effort: Effort) -> int | None:
        if not self._times.count:
            return None
        day, second = divmod(max(wall + 1, self._start), DAY_S)
        ordinal = day + EPOCH_ORDINAL
        found = self._days.at_or_after(ordinal, effort)
        if found == ordinal:
            time = self._times.at_or_after(second)
            if time is not None:
                return day * DAY_S + time
            found = self._days.at_or_after(ordinal + 1, effort)
        return None if found is None else (found - EPOCH_ORDINAL) * DAY_S + self._times.nth(0)

    def nth(self, number: int, effort: Effort) -> int | None:
        """Whole years are counted by their bits: a COUNT of a million costs as little as one of ten."""
        size = self._times.count
        day, second = divmod(self._start, DAY_S)
        ordinal = day + EPOCH_ORDINAL
        year = date.fromordinal(ordinal).year
        first = first_ordinal(year)
        bits = self._days.bits(year) >> (ordinal - first) << (ordinal - first)
        if bits >> (ordinal - first) & 1:
            number += self._times.rank(second)
        while bits.bit_count() * size < number:
            effort.spend(self._days.steps())
            number -= bits.bit_count() * size
            year = self._days.next_year(year)
            if year > LAST_YEAR:
                return None
            bits = self._days.bits(year)
            if not bits:
                found = self._days.at_or_after(first_ordinal(year), effort)
                if found is None:
                    return None
                year = date.fromordinal(found).year
                bits = self._days.bits(year)
        days_before, index = divmod(number - 1, size)
        for _ in range(days_before):
            bits &= bits - 1
        ordinal = first_ordinal(year) + (bits & -bits).bit_length() - 1
        return (ordinal - EPOCH_ORDINAL) * DAY_S + self._times.nth(index)
