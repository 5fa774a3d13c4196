"""The interface of a rule, and the rules with even distances or whole days or periods: almost all rules.

The occurrences of a rule are wall seconds (clock.py). Rules know no zones.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import date
from typing import Protocol

from redbike.schedule.rrule.clock import DAY_S, EPOCH_ORDINAL, LAST_ORDINAL, LAST_WALL, LAST_YEAR
from redbike.schedule.rrule.days import (
    DAILY,
    FREQUENCY_NAMES,
    HOURLY,
    MINUTELY,
    MONTHLY,
    SECONDLY,
    WEEKLY,
    YEARLY,
    DayFilters,
    first_ordinal,
    month_starts,
    year_patterns,
)
from redbike.schedule.rrule.errors import BadRecurrence, Budget, Unfound
from redbike.schedule.rrule.firing import FiringDays, TimesOfDay, picked
from redbike.schedule.rrule.text import Parts

UNIT_S = {WEEKLY: 7 * DAY_S, DAILY: DAY_S, HOURLY: 3600, MINUTELY: 60, SECONDLY: 1}
# The largest COUNT of a rule whose occurrences can only be counted one at a time.
LONGEST_COUNT = 5_000
_FEW = 2  # to find this many, the search and not the COUNT costs too much
# Weekdays and leap years repeat after 400 years, so this many periods of an INTERVAL contain every case.
_PERIODS_OF_A_CYCLE = {YEARLY: 400, MONTHLY: 4_800, WEEKLY: 20_871}
# Easter repeats only after 5.7 million years: with BYEASTER, the search ends after this many periods.
_EASTER_PERIODS = 1_000


class Rule(Protocol):
    """The occurrences of one rule without its UNTIL, as wall seconds."""

    def after(self, wall: int, budget: Budget) -> int | None:
        """Return the first occurrence strictly after `wall`; None if there is none up to the end of the year 9999."""

    def nth(self, number: int, budget: Budget) -> int | None:
        """Return the occurrence with this number, counted from 1; None if there are fewer."""


def nth_by_steps(rule: Rule, start: int, number: int, budget: Budget) -> int | None:
    """Return the occurrence with this number, counted one at a time from `start`; None if there are fewer."""
    wall: int | None = start - 1
    for _ in range(number):
        assert wall is not None
        budget.spend(1)
        wall = rule.after(wall, budget)
        if wall is None:
            return None
    return wall


def never_reached(parts: Parts) -> BadRecurrence:
    """Return the error for a rule whose steps never fall on an allowed time of day."""
    return BadRecurrence(
        f"FREQ={FREQUENCY_NAMES[parts.freq]} with INTERVAL={parts.interval} never reaches from its start "
        "the times that BYHOUR, BYMINUTE and BYSECOND allow"
    )


def refuse_long_count(parts: Parts, where: str) -> None:
    """Raise BadRecurrence if COUNT is too large to count one at a time; `where` names the reason in the text."""
    if parts.count is not None and parts.count > LONGEST_COUNT:
        raise BadRecurrence(
            f"COUNT={parts.count} is too many to count {where}; at most {LONGEST_COUNT} are allowed, or use UNTIL"
        )


def count_within_budget(nth: Callable[[int, Budget], int | None], parts: Parts, budget: Budget) -> int | None:
    """Return the last occurrence that COUNT allows. Raise BadRecurrence, which names COUNT, if that costs too much."""
    assert parts.count is not None
    try:
        return nth(parts.count, budget)
    except Unfound as error:
        if parts.count <= _FEW:
            raise
        raise BadRecurrence(
            f"COUNT={parts.count} cannot be counted within {Budget.LIMIT} steps of search: use a smaller COUNT,"
            " or UNTIL"
        ) from error


class EvenRule:
    """Occurrences at even distances from the start."""

    __slots__ = ("_start", "_step_s")

    def __init__(self, parts: Parts, start: int) -> None:
        self._start = start
        self._step_s = parts.interval * UNIT_S[parts.freq]

    def after(self, wall: int, budget: Budget) -> int | None:  # noqa: ARG002 - as every rule
        """Return the first occurrence strictly after `wall`; None if there is none."""
        if wall < self._start:
            return self._start
        found = wall + self._step_s - (wall - self._start) % self._step_s
        return found if found <= LAST_WALL else None

    def nth(self, number: int, budget: Budget) -> int | None:  # noqa: ARG002 - as every rule
        """Return the occurrence with this number, counted from 1; None if there are fewer."""
        found = self._start + (number - 1) * self._step_s
        return found if found <= LAST_WALL else None


class DayRule:
    """Every allowed day with every time of day: almost all rules."""

    __slots__ = ("_days", "_start", "_times")

    def __init__(self, days: FiringDays, times: TimesOfDay, start: int) -> None:
        self._days, self._times, self._start = days, times, start

    def after(self, wall: int, budget: Budget) -> int | None:
        """Return the first occurrence strictly after `wall`; None if there is none."""
        if not self._times.count:
            return None
        day, second = divmod(max(wall + 1, self._start), DAY_S)
        ordinal = day + EPOCH_ORDINAL
        found = self._days.at_or_after(ordinal, budget)
        if found == ordinal:
            time = self._times.at_or_after(second)
            if time is not None:
                return day * DAY_S + time
            found = self._days.at_or_after(ordinal + 1, budget)
        return None if found is None else (found - EPOCH_ORDINAL) * DAY_S + self._times.nth(0)

    def nth(self, number: int, budget: Budget) -> int | None:
        """Count whole years by their bits: a COUNT of a million costs about as little as a COUNT of ten."""
        size = self._times.count
        day, second = divmod(self._start, DAY_S)
        ordinal = day + EPOCH_ORDINAL
        year = date.fromordinal(ordinal).year
        first = first_ordinal(year)
        bits = self._days.bits(year) >> (ordinal - first) << (ordinal - first)
        if bits >> (ordinal - first) & 1:
            number += self._times.rank(second)
        while bits.bit_count() * size < number:
            budget.spend(self._days.steps())
            number -= bits.bit_count() * size
            year = self._days.next_year(year)
            if year > LAST_YEAR:
                return None
            bits = self._days.bits(year)
            if not bits:
                found = self._days.at_or_after(first_ordinal(year), budget)
                if found is None:
                    return None
                year = date.fromordinal(found).year
                bits = self._days.bits(year)
        days_before, index = divmod(number - 1, size)
        for _ in range(days_before):
            bits &= bits - 1
        ordinal = first_ordinal(year) + (bits & -bits).bit_length() - 1
        return (ordinal - EPOCH_ORDINAL) * DAY_S + self._times.nth(index)


class PositionRule:
    """BYSETPOS in a YEARLY, MONTHLY or WEEKLY rule: occurrences chosen by their place in the period.

    It goes from period to period and leaps over periods without a match.
    """

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
        # A search from here on has found no run.
        self._none_after = LAST_WALL + 1

    def after(self, wall: int, budget: Budget) -> int | None:
        """Return the first occurrence strictly after `wall`; None if there is none."""
        if wall >= self._none_after:
            return None
        wall = max(wall, self._start - 1)
        begin = 0
        for empty, (period, first, bits) in enumerate(self._matching_periods(wall, budget)):
            begin = begin or period
            picks = self._picks(bits.bit_count(), budget)
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

    def nth(self, number: int, budget: Budget) -> int | None:
        """Count whole periods by the number of their picks."""
        begin = empty = 0
        for period, first, bits in self._matching_periods(self._start, budget):
            picks = self._picks(bits.bit_count(), budget)
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
        """Return True if so many periods without a run, `empty` of them with matching days, prove that none follows."""
        # Two more than a cycle, because the start may cut the first period and the question the last.
        cycle = (2 + _PERIODS_OF_A_CYCLE[self._parts.freq]) * self._parts.interval
        return empty > _EASTER_PERIODS if self._parts.by_easter else periods > cycle

    def _matching_periods(self, wall: int, budget: Budget) -> Iterator[tuple[int, int, int]]:
        """Yield number, first ordinal and day bits of each allowed period with a matching day, from `wall` on."""
        period = self._period(min(max(wall // DAY_S + EPOCH_ORDINAL, 1), LAST_ORDINAL))
        period += (self._first_period - period) % self._parts.interval
        while True:
            year, first, days = self._span(period)
            if first > LAST_ORDINAL:
                return
            budget.spend(1, (first - EPOCH_ORDINAL) * DAY_S)
            bits = self._patterns.of(year) >> (first - first_ordinal(year)) & ((1 << days) - 1)
            if bits:
                yield period, first, bits
                period += self._parts.interval
            else:
                day = self._days.at_or_after(first + days, budget)
                if day is None:
                    return
                period = self._period(day)

    def _period(self, ordinal: int) -> int:
        if self._parts.freq == WEEKLY:
            return (ordinal - 1 - self._parts.wkst) // 7
        day = date.fromordinal(ordinal)
        return day.year if self._parts.freq == YEARLY else day.year * 12 + day.month - 1

    def _span(self, period: int) -> tuple[int, int, int]:
        """Return the year whose calendar counts for the period, the ordinal of its first day and its length in days."""
        if self._parts.freq == YEARLY:
            first = first_ordinal(period)
            return period, first, first_ordinal(period + 1) - first
        if self._parts.freq == MONTHLY:
            year, month = divmod(period, 12)
            starts = month_starts(year)
            return year, first_ordinal(year) + starts[month], starts[month + 1] - starts[month]
        end = period * 7 + 8 + self._parts.wkst
        first = max(end - 7, 1)
        if period == self._first_period:
            # The first week begins at the start: positions count from there.
            first = self._start_ordinal
        year = date.fromordinal(first).year if first <= LAST_ORDINAL else LAST_YEAR + 1
        return year, first, end - first

    def _picks(self, days: int, budget: Budget) -> list[tuple[int, int]]:
        """Return the picks of BYSETPOS in a period with this many matching days."""
        picks = self._picked.get(days)
        if picks is None:
            budget.spend(len(self._parts.by_set_pos))
            picks = self._picked[days] = picked(self._times.count, days, self._parts.by_set_pos)
        return picks


def _moments(first: int, bits: int, times: TimesOfDay) -> Callable[[tuple[int, int]], int]:
    """Return a function from a pick to its wall seconds, in the period that begins at the ordinal `first`."""

    def moment(pick: tuple[int, int]) -> int:
        return (first + days[pick[0]] - EPOCH_ORDINAL) * DAY_S + times.nth(pick[1])

    days = [day for day, bit in enumerate(reversed(f"{bits:b}")) if bit == "1"]
    return moment
