"""The rule whose times differ from day to day: an odd INTERVAL below a day, or BYSETPOS within a day or less."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import reduce
from math import gcd
from operator import or_

from redbike.schedule.rrule.clock import DAY_S, EPOCH_ORDINAL, LAST_WALL
from redbike.schedule.rrule.days import DAILY, HOURLY, DayFilters
from redbike.schedule.rrule.errors import Budget
from redbike.schedule.rrule.firing import FiringDays, picked, times_of_day
from redbike.schedule.rrule.rules import UNIT_S, never_reached, nth_by_steps, refuse_long_count
from redbike.schedule.rrule.text import Parts

_WALKED = 64  # tries before a leap is computed
_RANGE_STEPS = 5  # the cost of a range in that computation, in steps of Budget
_MOST_RANGES = 300


class StepRule:
    """A sub-daily rule whose times differ from day to day, or that has BYSETPOS: a walk over steps, with leaps.

    After a step that a filter refuses comes the first step at or after the next hour, minute or day that this filter
    allows. So a search passes over excluded times in a few leaps.
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
        self, parts: Parts, filters: DayFilters, choices: list[Sequence[int]], start: int, budget: Budget
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
        budget.spend(within.count // 4 + _MOST_RANGES // 2)
        picks = picked(within.count, 1, parts.by_set_pos) if parts.by_set_pos else None
        self._offsets = (
            [within.nth(index) for index in range(within.count)]
            if picks is None
            else [within.nth(index) for _, index in picks]
        )
        self._days = FiringDays(filters, DAILY, 1, start // DAY_S + EPOCH_ORDINAL)
        if not self._unlimited():
            refuse_long_count(parts, "with BY parts and this INTERVAL or BYSETPOS")
            if not self._reachable(choices[: finest + 1], budget):
                raise never_reached(parts)

    def after(self, wall: int, budget: Budget) -> int | None:
        """Return the first occurrence strictly after `wall`; None if there is none."""
        if not self._offsets:
            return None
        wall = max(wall, self._start - 1)
        unit = wall // self._unit_s
        found = self._step(unit, budget)
        if found == unit:
            index = bisect_right(self._offsets, wall - unit * self._unit_s)
            if index < len(self._offsets):
                return unit * self._unit_s + self._offsets[index]
            found = self._step(unit + 1, budget)
        return None if found is None else found * self._unit_s + self._offsets[0]

    def nth(self, number: int, budget: Budget) -> int | None:
        """Return the occurrence with this number, counted from 1; None if there are fewer."""
        if not self._offsets:
            return None
        if not self._unlimited():
            return nth_by_steps(self, self._start, number, budget)
        number += bisect_right(self._offsets, self._start - self._origin * self._unit_s - 1)
        steps, index = divmod(number - 1, len(self._offsets))
        wall = (self._origin + steps * self._every) * self._unit_s + self._offsets[index]
        return wall if wall <= LAST_WALL else None

    def _unlimited(self) -> bool:
        return self._days.every_day() and self._hours is self._minutes is self._seconds is None

    def _reachable(self, choices: Sequence[Sequence[int]], budget: Budget) -> bool:
        """Return True if an allowed time is congruent to the start, modulo the gcd of a step and the clock's circle."""
        modulus = gcd(self._every, self._per_day)
        budget.spend(modulus // 200)
        reached, unit = 1, self._per_day
        for level, choice in enumerate(choices):
            # The bits of all residues, rotated by each value of the choice.
            unit //= 60 if level else 24
            turns = {value * unit % modulus for value in choice}
            reached = reduce(or_, (reached << turn | reached >> modulus - turn for turn in turns))
            reached &= (1 << modulus) - 1
        return bool(reached >> self._origin % modulus & 1)

    def _step(self, unit: int, budget: Budget) -> int | None:
        """Return the first allowed step at or after this unit; None if there is none."""
        origin, every, per_day = self._origin, self._every, self._per_day
        per_hour = per_day // 24
        per_minute = max(per_hour // 60, 1)
        checked_day = -1
        tries = 0
        while True:
            budget.spend(1, unit * self._unit_s)
            unit += (origin - unit) % every
            tries += 1
            if tries % _WALKED == 0 and self._ranges is not None:
                # Without a leap, steps that drift slowly round the clock would take tens of thousands of tries.
                budget.spend(_RANGE_STEPS * len(self._ranges), unit * self._unit_s)
                ahead = [steps_into(unit % per_day, every, per_day, *one) for one in self._ranges]
                least = min((steps for steps in ahead if steps is not None), default=None)
                if least is None:
                    return None
                unit += least * every
                if unit > LAST_WALL // self._unit_s:
                    return None
            day, at = divmod(unit, per_day)
            if day != checked_day:
                allowed = self._days.at_or_after(day + EPOCH_ORDINAL, budget)
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
    """Return the allowed times of day as ranges (first, last) in the rule's unit; None if there are too many."""
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
    """Return the distance from each value on the circle to the next allowed value; None if all are allowed.

    An allowed value has the distance 0. After the last allowed value the leap ends at the end of the circle, and the
    coarser field is checked again.
    """
    if len(choice) == size:
        return None
    leaps, ahead = [0] * size, size
    allowed = set(choice)
    for value in range(size - 1, -1, -1):
        ahead = value if value in allowed else ahead
        leaps[value] = ahead - value
    return leaps


def steps_into(at: int, step: int, circle: int, first: int, last: int) -> int | None:
    """Return the least number of steps after which a walk round the circle, from `at`, is within first..last.

    The number is computed, not found by walking. All values have the same unit, and 0 <= first <= last < circle.
    Return None if no step ever falls into the range.
    """
    if first <= at <= last:
        return 0
    return _least(step % circle, circle, (first - at) % circle, (last - at) % circle)


def _least(step: int, circle: int, first: int, last: int) -> int | None:
    """Return the least k with first <= step * k mod circle <= last. As in Euclid's algorithm, the circle shrinks."""
    if first == 0:
        return 0
    if step == 0:
        return None
    k = -(-first // step)
    if step * k <= last:
        return k
    # No multiple of the step lies in the range. The number of turns is the same question on a circle of one step.
    turns = _least(circle % step, step, -last % step, -first % step)
    return None if turns is None else -(-(first + circle * turns) // step)
