"""What a rule is to the rest: occurrences on a clock without zones, in *wall seconds*. Owns their range.

Wall seconds are what a Unix time would be if the clock on the wall showed UTC.
"""

from datetime import date
from typing import Protocol

from redbike.recurrence.errors import BadRecurrence, Effort
from redbike.recurrence.parts import FREQUENCY_NAMES, Parts

DAY_S = 86_400
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
LAST_YEAR = date.max.year
LAST_ORDINAL = date.max.toordinal()
LAST_WALL = (LAST_ORDINAL + 1 - EPOCH_ORDINAL) * DAY_S - 1
FIRST_WALL = (1 - EPOCH_ORDINAL) * DAY_S
# Where occurrences can only be counted one by one.
LONGEST_COUNT = 5_000


class Rule(Protocol):
    """The occurrences of one rule without its UNTIL, as wall seconds."""

    def after(self, wall: int, effort: Effort) -> int | None:
        """The first occurrence strictly after `wall`; None: none up to the end of the year 9999."""

    def nth(self, number: int, effort: Effort) -> int | None:
        """The occurrence with this number, counted from 1; None: there are fewer."""


def nth_by_steps(rule: Rule, start: int, number: int, effort: Effort) -> int | None:
    wall: int | None = start - 1
    for _ in range(number):
        assert wall is not None
        effort.spend(1)
        wall = rule.after(wall, effort)
        if wall is None:
            return None
    return wall


def never_reached(parts: Parts) -> BadRecurrence:
    return BadRecurrence(
        f"FREQ={FREQUENCY_NAMES[parts.freq]} with INTERVAL={parts.interval} never reaches from its start "
        "the times that BYHOUR, BYMINUTE and BYSECOND allow"
    )


def refuse_long_count(parts: Parts, where: str) -> None:
    if parts.count is not None and parts.count > LONGEST_COUNT:
        raise BadRecurrence(
            f"COUNT={parts.count} is too many to count {where}; allowed are {LONGEST_COUNT}, or use UNTIL"
        )
