"""The times of day at which a rule fires, as seconds after midnight, in order. Knows no dates."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Protocol

# Up to here a plain sorted tuple is fastest; BYHOUR, BYMINUTE and BYSECOND can multiply to 86,400.
_LISTED_TIMES = 150


class TimesOfDay(Protocol):
    """An ordered, non-empty choice of seconds of the day."""

    count: int

    def at_or_after(self, second: int) -> int | None:
        """The first chosen second that is not before this one; None: no more today."""

    def rank(self, second: int) -> int:
        """How many chosen seconds lie before this one."""

    def nth(self, index: int) -> int:
        """The chosen second of this 0-based index."""


class ListedTimes:
    """Times kept one by one."""

    __slots__ = ("_times", "count")

    def __init__(self, times: Sequence[int]) -> None:
        self._times = tuple(times)
        self.count = len(self._times)

    def at_or_after(self, second: int) -> int | None:
        index = bisect_left(self._times, second)
        return self._times[index] if index < self.count else None

    def rank(self, second: int) -> int:
        return bisect_left(self._times, second)

    def nth(self, index: int) -> int:
        return self._times[index]


class ProductTimes:
    """Every chosen hour with every chosen minute and second, never multiplied out."""

    __slots__ = ("_hours", "_minutes", "_seconds", "count")

    def __init__(self, hours: Sequence[int], minutes: Sequence[int], seconds: Sequence[int]) -> None:
        self._hours, self._minutes, self._seconds = tuple(hours), tuple(minutes), tuple(seconds)
        self.count = len(self._hours) * len(self._minutes) * len(self._seconds)

    def at_or_after(self, second: int) -> int | None:
        index = self.rank(second)
        return self.nth(index) if index < self.count else None

    def rank(self, second: int) -> int:
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
        rest, second = divmod(index, len(self._seconds))
        hour, minute = divmod(rest, len(self._minutes))
        return self._hours[hour] * 3600 + self._minutes[minute] * 60 + self._seconds[second]


def times_of_day(hours: Sequence[int], minutes: Sequence[int], seconds: Sequence[int]) -> TimesOfDay:
    """The product of three sorted, non-empty choices."""
    product = ProductTimes(hours, minutes, seconds)
    if product.count > _LISTED_TIMES:
        return product
    return ListedTimes([product.nth(index) for index in range(product.count)])


def picked(size: int, days: int, positions: Sequence[int]) -> list[tuple[int, int]]:
    """BYSETPOS: the (day index, time index) pairs, in order, that the positions name.

    `days` matching days of the period have `size` times each; positions count from 1, or from -1 at the end.
    """
    last = days * size
    indexes = {position - 1 if position > 0 else last + position for position in positions}
    return [divmod(index, size) for index in sorted(indexes) if 0 <= index < last]
