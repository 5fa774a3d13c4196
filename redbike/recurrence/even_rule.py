"""The rule without BY parts, weekly or faster: one occurrence each so many seconds on the wall."""

from redbike.recurrence.days import DAILY, HOURLY, MINUTELY, SECONDLY, WEEKLY
from redbike.recurrence.errors import Effort
from redbike.recurrence.parts import Parts
from redbike.recurrence.wall import DAY_S, LAST_WALL

UNIT_S = {WEEKLY: 7 * DAY_S, DAILY: DAY_S, HOURLY: 3600, MINUTELY: 60, SECONDLY: 1}


class EvenRule:
    """Occurrences at even distances from the start."""

    __slots__ = ("_start", "_step_s")

    def __init__(self, parts: Parts, start: int) -> None:
        self._start = start
        self._step_s = parts.interval * UNIT_S[parts.freq]

    def after(self, wall: int, effort: Effort) -> int | None:  # noqa: ARG002 - as every rule
        if wall < self._start:
            return self._start
        found = wall + self._step_s - (wall - self._start) % self._step_s
        return found if found <= LAST_WALL else None

    def nth(self, number: int, effort: Effort) -> int | None:  # noqa: ARG002 - as every rule
        found = self._start + (number - 1) * self._step_s
        return found if found <= LAST_WALL else None
