"""The rule whose steps fall on other times each day: an odd INTERVAL below a day, or BYSETPOS within one."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import reduce
from math import gcd
from operator import or_

from redbike.recurrence.congruence import steps_into
from redbike.recurrence.days import DAILY, HOURLY, DayFilters
from redbike.recurrence.errors import Effort
from redbike.recurrence.even_rule import UNIT_S
from redbike.recurrence.firing_days import FiringDays
from redbike.recurrence.parts import Parts
from redbike.recurrence.times import picked, times_of_day
from redbike.recurrence.wall import DAY_S, EPOCH_ORDINAL, LAST_WALL, never_reached, nth_by_steps, refuse_long_count

_WALKED = 64  # tries before a leap is worked out
_RANGE_STEPS = 5  # what a range costs there, in steps of Effort
_MOST_RANGES = 300


class StepRule:
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
        "_ranges",
        "_seconds",
        "_start",
        "_unit_s",
    )

    def __init__(
        self, parts: Parts, filters: DayFilters, choices: list[Sequence[int]], start: int, effort: Effort
    ) -> None:
        self._start = start
        self._unit_s = UNIT_S[parts.freq]
        self._every = parts.interval
        self._per_day = DAY_S // self._unit_s
        self._origin = start // self._unit_s
        finest = parts.freq - HOURLY
        hours, minutes, seconds = choices
        self._hours = _leaps(hours, 24)
        self._minutes = _leaps(minutes, 60) if finest >= 1 else None
        self._seconds = _leaps(seconds, 60) if finest >= 2 else None
        self._ranges = _ranges(choices[: finest + 1])
        within = times_of_day((0,), minutes if finest < 1 else (0,), seconds if finest < 2 else (0,))
        effort.spend(within.count // 4 + _MOST_RANGES // 2)
        picks = picked(within.count, 1, parts.by_set_pos) if parts.by_set_pos else None
        self._offsets = (
            [within.nth(index) for index in range(within.count)]
            if picks is None
            else [within.nth(index) for _, index in picks]
        )
        self._days = FiringDays(filters, DAILY, 1, start // DAY_S + EPOCH_ORDINAL)
        if not self._unlimited():
            refuse_long_count(parts, "where BY parts meet such an INTERVAL or BYSETPOS")
            if not self._reachable(choices[: finest + 1], effort):
                raise never_reached(parts)

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
            return nth_by_steps(self, self._start, number, effort)
        number += bisect_right(self._offsets, self._start - self._origin * self._unit_s - 1)
        steps, index = divmod(number - 1, len(self._offsets))
        wall = (self._origin + steps * self._every) * self._unit_s + self._offsets[index]
        return wall if wall <= LAST_WALL else None

    def _unlimited(self) -> bool:
        return self._days.every_day() and self._hours is self._minutes is self._seconds is None

    def _reachable(self, choices: Sequence[Sequence[int]], effort: Effort) -> bool:
        """Some allowed time is congruent to the start, modulo what the clock's circle leaves of a step."""
        modulus = gcd(self._every, self._per_day)
        effort.spend(modulus // 200)
        reached, unit = 1, self._per_day
        for level, choice in enumerate(choices):
            # The bits of all residues, turned by each value of the choice.
            unit //= 60 if level else 24
            turns = {value * unit % modulus for value in choice}
            reached = reduce(or_, (reached << turn | reached >> modulus - turn for turn in turns))
            reached &= (1 << modulus) - 1
        return bool(reached >> self._origin % modulus & 1)

    def _step(self, unit: int, effort: Effort) -> int | None:
        """The first allowed step that is not before this unit."""
        origin, every, per_day = self._origin, self._every, self._per_day
        per_hour = per_day // 24
        per_minute = max(per_hour // 60, 1)
        checked_day = -1
        tries = 0
        while True:
            effort.spend(1, unit * self._unit_s)
            unit += (origin - unit) % every
            tries += 1
            if tries % _WALKED == 0 and self._ranges is not None:
                # Steps that drift slowly round the clock would take tens of thousands of tries.
                effort.spend(_RANGE_STEPS * len(self._ranges), unit * self._unit_s)
                ahead = [steps_into(unit % per_day, every, per_day, *one) for one in self._ranges]
                least = min((steps for steps in ahead if steps is not None), default=None)
                if least is None:
                    return None
                unit += least * every
                if unit > LAST_WALL // self._unit_s:
                    return None
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


def _ranges(choices: list[Sequence[int]]) -> list[tuple[int, int]] | None:
    """The allowed times of day as ranges, first and last, in the rule's unit; None where they are too many."""
    ranges = [(0, 0)]
    for level, choice in enumerate(choices):
        size = 24 if level == 0 else 60
        if len(choice) == size:
            ranges = [(first * size, last * size + size - 1) for first, last in ranges]
            continue
        if sum(last - first + 1 for first, last in ranges) * len(choice) > _MOST_RANGES:
            return None
        ranges = [
            (coarse * size + value, coarse * size + value)
            for first, last in ranges
            for coarse in range(first, last + 1)
            for value in choice
        ]
    return ranges


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
