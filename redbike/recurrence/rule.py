"""One rule with its start, on a clock without zones: the first occurrence after any moment.

Moments are *wall seconds*: what a Unix time would be if the clock on the wall showed UTC.
The days come as bits of a year (days.py), the times of day as an ordered choice (times.py).
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from math import gcd
from typing import Protocol

from redbike.recurrence.days import (
    DAILY,
    HOURLY,
    MINUTELY,
    MONTHLY,
    SECONDLY,
    WEEKLY,
    YEARLY,
    DayFilters,
    YearPatterns,
    first_ordinal,
    month_starts,
)
from redbike.recurrence.errors import BadRecurrence, Effort
from redbike.recurrence.parts import FREQUENCY_NAMES, Parts
from redbike.recurrence.times import ListedTimes, TimesOfDay, picked, times_of_day

DAY_S = 86_400
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
LAST_YEAR = date.max.year
LAST_ORDINAL = date.max.toordinal()
LAST_WALL = (LAST_ORDINAL + 1 - EPOCH_ORDINAL) * DAY_S - 1
FIRST_WALL = (1 - EPOCH_ORDINAL) * DAY_S
# Where occurrences can only be counted one by one.
LONGEST_COUNT = 5_000

_UNIT_S = {HOURLY: 3600, MINUTELY: 60, SECONDLY: 1}
# After 400 years weekdays and leap years repeat; so many periods of an INTERVAL show all there is to see.
_PERIODS_OF_A_CYCLE = {YEARLY: 400, MONTHLY: 4_800, WEEKLY: 20_871}


class Rule(Protocol):
    """The occurrences of one rule without its UNTIL, as wall seconds."""

    def after(self, wall: int, effort: Effort) -> int | None:
        """The first occurrence strictly after `wall`; None: none up to the end of the year 9999."""

    def nth(self, number: int, effort: Effort) -> int | None:
        """The occurrence with this number, counted from 1; None: there are fewer."""


def compile_rule(parts: Parts, start: int, effort: Effort) -> Rule:
    """The rule as it runs from `start` (wall seconds); raises BadRecurrence where it can never match."""
    rule = _without_count(parts, start)
    return rule if parts.count is None else _Counted(rule, rule.nth(parts.count, effort))


def _without_count(parts: Parts, start: int) -> Rule:
    day, second = divmod(start, DAY_S)
    ordinal = day + EPOCH_ORDINAL
    filters = _day_filters(parts, ordinal)
    if parts.freq > DAILY:
        return _within_days(parts, filters, start)
    times = times_of_day(
        parts.by_hour or (second // 3600,),
        parts.by_minute or (second // 60 % 60,),
        parts.by_second or (second % 60,),
    )
    if parts.by_set_pos and parts.freq != DAILY:
        refuse_long_count(parts, "with BYSETPOS")
        return _PositionRule(parts, filters, times, start)
    if parts.by_set_pos:
        times = ListedTimes([times.nth(index) for _, index in picked(times.count, 1, parts.by_set_pos)])
    return _DayRule(_Days(filters, parts.freq, parts.interval, ordinal), times, start)


def _day_filters(parts: Parts, start_ordinal: int) -> DayFilters:
    """The parts that choose days; where none does, a YEARLY to WEEKLY rule keeps to the day of its start."""
    months, month_days = parts.by_month or (), parts.by_month_day or ()
    weekdays = tuple(sorted({day for day, nth in parts.by_day or () if not nth or parts.freq > MONTHLY}))
    nth_weekdays = tuple(pair for pair in parts.by_day or () if pair[1] and parts.freq <= MONTHLY)
    if not parts.choose_days():
        start = date.fromordinal(start_ordinal)
        if parts.freq == WEEKLY:
            weekdays = (start.weekday(),)
        elif parts.freq <= MONTHLY:
            month_days = (start.day,)
            if parts.freq == YEARLY:
                months = months or (start.month,)
    return DayFilters(
        parts.freq,
        parts.wkst,
        months,
        month_days,
        parts.by_year_day or (),
        parts.by_week_no or (),
        weekdays,
        nth_weekdays,
        parts.by_easter or (),
    )


def _within_days(parts: Parts, filters: DayFilters, start: int) -> Rule:
    """An HOURLY to SECONDLY rule: as times of the day where its INTERVAL allows, else step by step."""
    day, second = divmod(start, DAY_S)
    clock = (second // 3600, second // 60 % 60, second % 60)
    limits = (parts.by_hour, parts.by_minute, parts.by_second)
    finest = parts.freq - HOURLY
    choices: list[Sequence[int]] = [
        limit or (range(size) if level <= finest else (at,))
        for level, (limit, size, at) in enumerate(zip(limits, (24, 60, 60), clock, strict=True))
    ]
    regular = None if parts.by_set_pos else _regular_times(choices, clock, finest, parts.interval)
    if regular is None:
        return _StepRule(parts, filters, choices, start)
    chosen, every_days = regular
    if not all(chosen):
        raise _never_reached(parts)
    days = _Days(filters, DAILY, every_days, day + EPOCH_ORDINAL)
    return _DayRule(days, times_of_day(*chosen), start)


def _regular_times(
    choices: list[Sequence[int]], clock: tuple[int, int, int], finest: int, interval: int
) -> tuple[list[list[int]], int] | None:
    """The hours, minutes and seconds that steps of `interval` from `clock` reach, and the days between them.

    None where the steps do not divide the clock's circle: then every day differs from the one before.
    """
    chosen = [list(choice) for choice in choices]
    for level in range(finest, -1, -1):
        size = (24, 60, 60)[level]
        if size % interval and interval % size:
            return None
        step = min(interval, size)
        chosen[level] = [value for value in chosen[level] if (value - clock[level]) % step == 0]
        interval = max(interval // size, 1)
    return chosen, interval


def _never_reached(parts: Parts) -> BadRecurrence:
    return BadRecurrence(
        f"FREQ={FREQUENCY_NAMES[parts.freq]} with INTERVAL={parts.interval} never reaches from its start "
        "the times that BYHOUR, BYMINUTE and BYSECOND allow"
    )


def refuse_long_count(parts: Parts, where: str) -> None:
    if parts.count is not None and parts.count > LONGEST_COUNT:
        raise BadRecurrence(
            f"COUNT={parts.count} is too many to count {where}; allowed are {LONGEST_COUNT}, or use UNTIL"
        )


class _Counted:
    """A rule that ends with a known occurrence: COUNT, worked out once."""

    __slots__ = ("_last", "_rule")

    def __init__(self, rule: Rule, last: int | None) -> None:
        self._rule = rule
        self._last = LAST_WALL if last is None else last

    def after(self, wall: int, effort: Effort) -> int | None:
        if wall >= self._last:
            return None
        found = self._rule.after(wall, effort)
        return None if found is None or found > self._last else found

    def nth(self, number: int, effort: Effort) -> int | None:
        return self._rule.nth(number, effort)


class _Days:
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
        self._patterns = None if filters.let_all_through() else YearPatterns(filters)
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
        for later in range(year + 1, LAST_YEAR + 1):
            bits = self.bits(later)
            if bits:
                effort.spend((later - year) * self._year_steps)
                return first_ordinal(later) + (bits & -bits).bit_length() - 1
        effort.spend((LAST_YEAR - year) * self._year_steps)
        return None

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
        return sum(
            (1 << starts[month + 1]) - (1 << starts[month]) for month in range(earliest, 12, self._interval)
        )

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


class _DayRule:
    """Every allowed day with every time of day: almost all rules there are."""

    __slots__ = ("_days", "_start", "_times")

    def __init__(self, days: _Days, times: TimesOfDay, start: int) -> None:
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
            effort.spend(1)
            number -= bits.bit_count() * size
            year += 1
            if year > LAST_YEAR:
                return None
            bits = self._days.bits(year)
        days_before, index = divmod(number - 1, size)
        for _ in range(days_before):
            bits &= bits - 1
        found = first_ordinal(year) + (bits & -bits).bit_length() - 1
        return (found - EPOCH_ORDINAL) * DAY_S + self._times.nth(index)


def _nth_by_steps(rule: Rule, start: int, number: int, effort: Effort) -> int | None:
    wall: int | None = start - 1
    for _ in range(number):
        assert wall is not None
        wall = rule.after(wall, effort)
        if wall is None:
            return None
    return wall


class _PositionRule:
    """BYSETPOS in a YEARLY, MONTHLY or WEEKLY rule: occurrences picked by their place in the period."""

    __slots__ = ("_days", "_first_period", "_parts", "_patterns", "_picked", "_start", "_start_ordinal", "_times")

    def __init__(self, parts: Parts, filters: DayFilters, times: TimesOfDay, start: int) -> None:
        self._parts, self._times, self._start = parts, times, start
        self._patterns = YearPatterns(filters)
        self._start_ordinal = start // DAY_S + EPOCH_ORDINAL
        self._days = _Days(filters, parts.freq, parts.interval, self._start_ordinal)
        self._first_period = self._period(self._start_ordinal)
        self._picked: dict[int, list[tuple[int, int]]] = {}

    def after(self, wall: int, effort: Effort) -> int | None:
        wall = max(wall, self._start - 1)
        period = self._period(min(wall // DAY_S + EPOCH_ORDINAL, LAST_ORDINAL))
        period += (self._first_period - period) % self._parts.interval
        # Two more than a cycle: the first period may be cut by the start, the last one by `wall`.
        # Easter has a longer cycle; there this is the horizon.
        periods = 2 + _PERIODS_OF_A_CYCLE[self._parts.freq]
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
        return _nth_by_steps(self, self._start, number, effort)

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


class _StepRule:
    """A sub-daily rule whose steps fall on other times each day, or with BYSETPOS: step by step, with leaps.

    A step that a filter refuses is followed by the first step at or after the next hour, minute or day
    that this filter allows; so a search passes over what is excluded in a few leaps.
    """

    __slots__ = (
        "_days",
        "_every",
        "_hours",
        "_minutes",
        "_offsets",
        "_origin",
        "_per_day",
        "_seconds",
        "_start",
        "_unit_s",
    )

    def __init__(self, parts: Parts, filters: DayFilters, choices: list[Sequence[int]], start: int) -> None:
        self._start = start
        self._unit_s = _UNIT_S[parts.freq]
        self._every = parts.interval
        self._per_day = DAY_S // self._unit_s
        self._origin = start // self._unit_s
        finest = parts.freq - HOURLY
        hours, minutes, seconds = choices
        self._hours = _leaps(hours, 24)
        self._minutes = _leaps(minutes, 60) if finest >= 1 else None
        self._seconds = _leaps(seconds, 60) if finest >= 2 else None
        within = times_of_day((0,), minutes if finest < 1 else (0,), seconds if finest < 2 else (0,))
        picks = picked(within.count, 1, parts.by_set_pos) if parts.by_set_pos else None
        self._offsets = (
            [within.nth(index) for index in range(within.count)]
            if picks is None
            else [within.nth(index) for _, index in picks]
        )
        self._days = _Days(filters, DAILY, 1, start // DAY_S + EPOCH_ORDINAL)
        if not self._unlimited():
            refuse_long_count(parts, "where BY parts meet such an INTERVAL or BYSETPOS")
        if not self._reachable(choices[: finest + 1]):
            raise _never_reached(parts)

    def after(self, wall: int, effort: Effort) -> int | None:
        if not self._offsets:
            return None
        wall = max(wall, self._start - 1)
        unit = wall // self._unit_s
        found = self._step(unit, effort)
        if found == unit:
            index = bisect_right(self._offsets, wall - unit * self._unit_s)
            if index < len(self._offsets):
                return unit * self._unit_s + self._offsets[index]
            found = self._step(unit + 1, effort)
        return None if found is None else found * self._unit_s + self._offsets[0]

    def nth(self, number: int, effort: Effort) -> int | None:
        if not self._offsets:
            return None
        if not self._unlimited():
            return _nth_by_steps(self, self._start, number, effort)
        number += bisect_right(self._offsets, self._start - self._origin * self._unit_s - 1)
        steps, index = divmod(number - 1, len(self._offsets))
        wall = (self._origin + steps * self._every) * self._unit_s + self._offsets[index]
        return wall if wall <= LAST_WALL else None

    def _unlimited(self) -> bool:
        return self._days.every_day() and self._hours is self._minutes is self._seconds is None

    def _reachable(self, choices: Sequence[Sequence[int]]) -> bool:
        """Some allowed time is congruent to the start, modulo what the clock's circle leaves of a step."""
        if self._hours is self._minutes is self._seconds is None:
            return True
        modulus = gcd(self._every, self._per_day)
        residues = {0}
        for choice in choices:
            size = 24 if choice is choices[0] else 60
            residues = {(residue * size + value) % modulus for residue in residues for value in choice}
        return self._origin % modulus in residues

    def _step(self, unit: int, effort: Effort) -> int | None:
        """The first allowed step that is not before this unit."""
        origin, every, per_day = self._origin, self._every, self._per_day
        per_hour = per_day // 24
        per_minute = max(per_hour // 60, 1)
        checked_day = -1
        while True:
            effort.spend(1)
            unit += (origin - unit) % every
            day, at = divmod(unit, per_day)
            if day != checked_day:
                allowed = self._days.at_or_after(day + EPOCH_ORDINAL, effort)
                if allowed is None:
                    return None
                checked_day = allowed - EPOCH_ORDINAL
                if checked_day != day:
                    unit = checked_day * per_day
                    continue
            if self._hours is not None and (leap := self._hours[at // per_hour]):
                unit += leap * per_hour - at % per_hour
            elif self._minutes is not None and (leap := self._minutes[at // per_minute % 60]):
                unit += leap * per_minute - at % per_minute
            elif self._seconds is not None and (leap := self._seconds[at % 60]):
                unit += leap
            else:
                return unit


def _leaps(choice: Sequence[int], size: int) -> list[int] | None:
    """For each value on the circle, how far the next allowed one is, itself included. None: all are allowed.

    From the last allowed one the leap ends at the circle's end, where the coarser field is looked at again.
    """
    if len(choice) == size:
        return None
    leaps, ahead = [0] * size, size
    allowed = set(choice)
    for value in range(size - 1, -1, -1):
        ahead = value if value in allowed else ahead
        leaps[value] = ahead - value
    return leaps
