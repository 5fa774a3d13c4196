"""Turn interval, cron expression and zone into a schedule text, and back. Nothing here has a clock."""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from redbike.bridges.rq.crons import cron_text
from redbike.bridges.zone import zone_here
from redbike.schedule.forms import LATEST, PAUSED, read
from redbike.schedule.plan import Action
from redbike.schedule.zones import zone_named
from redbike.syncing.compare import is_same

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_FREQUENCIES = {"SECONDLY": 1, "MINUTELY": 60, "HOURLY": 3600, "DAILY": 86_400}
_EVERY = re.compile(r"EVERY:\s*(\d{1,9})([smhd]?)", re.ASCII)
_SINCE = re.compile(r"DTSTART:\d{8}T\d{6}Z?\nRRULE:FREQ=(SECONDLY|MINUTELY|HOURLY|DAILY);INTERVAL=(\d{1,9})", re.ASCII)
_CRON = re.compile(r"CRON:\s*(@\w+|\S+(?:\s+\S+){4})(?:\s+(\S+))?")
_MOST_S = 999_999_999

OVER = "STOP"
"""The text of a job whose schedule names no further run."""


class Told(NamedTuple):
    """The interval or the cron expression of a schedule text. Both are None for another text."""

    interval: int | None
    cron: str | None
    zone: str | None
    """The zone of the cron expression."""
    enabled: bool


class Wanted(NamedTuple):
    """When a job should run: one of the three is given."""

    interval: int | None
    cron: str | None
    schedule: str | None
    zone: str | None

    def check(self) -> None:
        """Raise ValueError, with the value and the way out, if this is not a schedule."""
        if sum(bool(given) for given in (self.interval, self.cron, self.schedule)) != 1:
            raise ValueError(
                "give exactly one of interval (seconds), cron (five fields) and schedule (any text of Redbike)"
            )
        if self.interval and (
            isinstance(self.interval, bool) or not isinstance(self.interval, int) or not 1 <= self.interval <= _MOST_S
        ):
            raise ValueError(f"interval: {self.interval!r} is not a whole number of seconds from 1 to {_MOST_S}")
        if self.zone is not None:
            if not self.cron:
                raise ValueError(f"zone: {self.zone!r} needs a cron expression: an interval has no zone")
            zone_named(self.zone)
        plan = read(self.text(0)).first(0)
        if plan.action is Action.BAD:
            raise ValueError(plan.reason)

    def text(self, start: float) -> str:
        """Return the schedule text. An interval counts from `start`, Unix seconds."""
        if self.interval:
            begin = datetime.fromtimestamp(min(max(start, 0), LATEST), UTC)
            return f"DTSTART:{begin:%Y%m%dT%H%M%S}\nRRULE:FREQ=SECONDLY;INTERVAL={self.interval}"
        if self.cron:
            return cron_text(self.cron, self.zone or _zone_here())
        return str(self.schedule).removeprefix(PAUSED)

    @property
    def is_for_one_run(self) -> bool:
        """True for a time such as `AT:…`. Whatever the time is, Redis holds `STOP` for it."""
        plan = read(self.text(0)).first(0)
        return plan.action is Action.AT and plan.registered == OVER

    def is_said_by(self, text: str) -> bool:
        """Return True if this text, with or without `PAUSED:`, says the same. `STOP` says no time."""
        if self.interval:
            return told(text).interval == self.interval
        schedule, text = self.text(0), text.removeprefix(PAUSED)
        if text == schedule:
            return True
        registered = read(schedule).first(0).registered
        return registered != OVER and is_same(schedule, registered, text)


def told(text: str) -> Told:
    """Return the interval or the cron expression of this text. Both are None for another text."""
    enabled, text = not text.startswith(PAUSED), text.removeprefix(PAUSED)
    if every := _EVERY.fullmatch(text):
        return Told(int(every[1]) * _UNITS[every[2]], None, None, enabled)
    if since := _SINCE.fullmatch(text):
        return Told(int(since[2]) * _FREQUENCIES[since[1]], None, None, enabled)
    if cron := _CRON.fullmatch(text):
        return Told(None, cron[1], cron[2] or "UTC", enabled)
    return Told(None, None, None, enabled)


def _zone_here() -> str:
    try:
        return zone_here()
    except ValueError as error:
        raise ValueError(
            f"zone: the zone of this machine cannot be found ({error}): give zone='Europe/Berlin'"
        ) from None
