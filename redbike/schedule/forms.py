"""The forms of a schedule text, and what comes next for a job with each form.

Knows neither Redis nor a clock: the caller gives a reference time with every question, in Unix seconds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar, Protocol, Self

from redbike.schedule.plan import Action, Plan
from redbike.schedule.rrule.errors import BadRecurrence

MAX_TEXT_LENGTH = 65_536  # characters
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799  # 0001-01-01T00:00:00Z, 9999-12-31T23:59:59Z: Python's dates
# Longer texts are read again each time, so that the cache stays within about ten megabytes.
_REMEMBERED_TEXTS = 2_048
_REMEMBERED_CHARS = 1_000


class Schedule(Protocol):
    """A schedule text after reading it."""

    needs_reference: ClassVar[bool]
    """True if the answer of `first` depends on the reference time."""

    @property
    def restarts(self) -> bool:
        """True if the schedule starts again after each run, because it has no DTSTART."""

    @property
    def zone(self) -> str | None:
        """The IANA name of the zone in which the schedule is read; None for UTC."""

    def read_as_utc(self) -> "Schedule":
        """Return the same schedule with its wall times read as UTC: on a clock that never changes."""

    def first(self, reference: float) -> Plan:
        """Return what comes next when the schedule is set, with this reference time."""

    def again(self, now: float) -> Plan:
        """Return what comes next when a run of the job ends."""


def read(text: str) -> Schedule:
    """Return the schedule of a text. Raise nothing: a schedule that is not valid always plans `Action.BAD`."""
    if len(text) > MAX_TEXT_LENGTH:
        return _Bad(text, f"schedule of {len(text)} characters: at most {MAX_TEXT_LENGTH} are allowed")
    return _remembered(text) if len(text) <= _REMEMBERED_CHARS else _read(text)


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def _remembered(text: str) -> Schedule:
    return _read(text)


def _read(text: str) -> Schedule:
    # In a shell a line break is hard to type, so `\n` is accepted, too.
    meant = text.replace("\\n", "\n").strip()
    try:
        meant.encode()
        if not meant:
            raise ValueError(f"schedule is empty: give one of {_FORMS}")
        if meant in _WORDS:
            return _WORDS[meant]
        word, colon, rest = meant.partition(":")
        reader = _READERS.get(word + colon, _recurring)
        return reader(meant, rest.strip())
    except UnicodeEncodeError:
        return _Bad(text, "schedule is not valid UTF-8")
    except ValueError as error:
        return _Bad(text, str(error))


class _Zoneless:
    """A schedule that depends on no zone."""

    __slots__ = ()
    restarts: ClassVar[bool] = False
    zone: ClassVar[None] = None

    def read_as_utc(self) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class _Bad(_Zoneless):
    needs_reference: ClassVar[bool] = False
    text: str
    reason: str

    def first(self, reference: float) -> Plan:  # noqa: ARG002 - as every schedule
        return Plan(Action.BAD, self.text, reason=self.reason)

    again = first


@dataclass(frozen=True, slots=True)
class _Fixed(_Zoneless):
    """`CONTINUE` and `STOP`: the same plan at any time."""

    needs_reference: ClassVar[bool] = False
    plan: Plan

    def first(self, reference: float) -> Plan:  # noqa: ARG002 - as every schedule
        return self.plan

    again = first


@dataclass(frozen=True, slots=True)
class _Once(_Zoneless):
    """`NOW` and `AT`: one run. The registered schedule becomes `STOP` when the run is planned.

    Only another program registers such a schedule as it is written. It also ends after its run.
    """

    needs_reference: ClassVar[bool] = False
    plan: Plan

    def first(self, reference: float) -> Plan:  # noqa: ARG002 - as every schedule
        return self.plan

    def again(self, now: float) -> Plan:
        still_to_come = self.plan.due_at is not None and self.plan.due_at > now
        return self.plan if still_to_come else Plan(Action.STOP, "STOP")


class _Times(Protocol):
    """A recurrence, or a cron expression."""

    zone: str | None

    @property
    def restarts(self) -> bool: ...

    def after(self, reference: float) -> int | None: ...

    def read_as_utc(self) -> "_Times": ...


class _Repeating:
    """A schedule with repeated runs. The text is registered as it is written."""

    needs_reference: ClassVar[bool] = True

    __slots__ = ("_last", "_over", "_text", "_times")

    def __init__(self, text: str, times: _Times, over: str) -> None:
        self._text, self._times, self._over = text, times, over
        self._last: tuple[float, Plan] | None = None

    @property
    def restarts(self) -> bool:
        return self._times.restarts

    @property
    def zone(self) -> str | None:
        return self._times.zone

    def read_as_utc(self) -> Schedule:
        return _Repeating(self._text, self._times.read_as_utc(), self._over)

    def first(self, reference: float) -> Plan:
        # Many jobs share a text and so the time of their next run: the last answer is often still right.
        last = self._last
        if last is not None and last[0] <= reference and (last[1].due_at is None or reference < last[1].due_at):
            return last[1]
        try:
            due_at = self._times.after(reference)
        except BadRecurrence as error:
            return Plan(Action.BAD, self._text, reason=str(error))
        if due_at is None:
            plan = Plan(Action.STOP, self._text, reason=self._over)
        else:
            plan = Plan(Action.AT, self._text, due_at=due_at)
        if not self._times.restarts:
            self._last = (reference, plan)
        return plan

    again = first


@dataclass(frozen=True, slots=True)
class _Every(_Zoneless):
    """`EVERY`: registered as the recurrence that starts when it is set, because other programs can read that."""

    needs_reference: ClassVar[bool] = True
    frequency: str
    interval: int

    def first(self, reference: float) -> Plan:
        start = datetime.fromtimestamp(min(max(reference, 0), LATEST), UTC)
        text = f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:FREQ={self.frequency};INTERVAL={self.interval}"
        return read(text).first(reference)

    again = first


def _at(text: str, rest: str) -> Schedule:
    if re.fullmatch(r"[+-]?\d{1,15}(\.\d+)?", rest, re.ASCII):
        due_at = float(rest)
    else:
        try:
            moment = datetime.fromisoformat(rest)
        except ValueError:
            raise ValueError(
                f"schedule {_shown(text)}: {_shown(rest)} is neither a Unix time in seconds, such as AT:1790000000,"
                " nor an ISO 8601 time, such as AT:2026-12-24T18:00:00+01:00"
            ) from None
        due_at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if due_at < EARLIEST:
        raise ValueError(f"schedule {_shown(text)}: {rest} is before the year 1; write AT:0 to run at once")
    if due_at > LATEST:
        raise ValueError(f"schedule {_shown(text)}: {rest} is after the year 9999; is it in milliseconds?")
    return _Once(Plan(Action.AT, "STOP", due_at=int(due_at) if due_at.is_integer() else due_at))


def _every(text: str, rest: str) -> Schedule:
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", rest, re.ASCII)
    if not match or int(match[1]) == 0:
        raise ValueError(
            f"schedule {_shown(text)}: {_shown(rest)} is not an interval: write a whole number of seconds, at"
            " least 1, or a number with a unit: EVERY:90, EVERY:5m, EVERY:2h, EVERY:1d"
        )
    return _Every(_FREQUENCIES[match[2]], int(match[1]))


def _cron(text: str, rest: str) -> Schedule:
    from redbike.schedule import cron

    try:
        return _Repeating(text, cron.parse(rest), "the cron expression has no run within fifty years")
    except ValueError as error:
        raise ValueError(f"schedule {_shown(text)}: {error}") from error


def _recurring(text: str, rest: str) -> Schedule:  # noqa: ARG001 - as every reader
    word = re.split(r"[:\s]", text, maxsplit=1)[0].upper()
    if text.upper() in _WORDS or text.upper().startswith(tuple(_READERS)):
        raise ValueError(f"schedule {_shown(text)}: write {word} in capitals")
    if word in _WORDS:
        raise ValueError(f"schedule {_shown(text)}: nothing may follow {word}")
    from redbike.schedule.rrule.recurrence import Recurrence

    try:
        return _Repeating(text, Recurrence(text), "the recurrence has no further run")
    except BadRecurrence as error:
        raise ValueError(f"schedule {_shown(text)}: {error}") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


_FORMS = "NOW, AT:TIME, CONTINUE, STOP, EVERY:INTERVAL, CRON:EXPRESSION or an iCalendar RRULE"
_FREQUENCIES = {"": "SECONDLY", "s": "SECONDLY", "m": "MINUTELY", "h": "HOURLY", "d": "DAILY"}
_WORDS: dict[str, Schedule] = {
    "NOW": _Once(Plan(Action.QUEUE, "STOP")),
    "CONTINUE": _Fixed(Plan(Action.QUEUE, "CONTINUE")),
    "STOP": _Fixed(Plan(Action.STOP, "STOP")),
}
_READERS: dict[str, Callable[[str, str], Schedule]] = {
    "AT:": _at,
    "EVERY:": _every,
    "CRON:": _cron,
}
