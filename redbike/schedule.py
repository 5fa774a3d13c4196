"""Schedule texts: what each form means, and what comes next for a job that has one.

Knows neither Redis nor a clock: every question brings its reference time, in Unix seconds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Protocol, Self

from redbike import cron
from redbike.recurrence import BadRecurrence, Recurrence

MAX_TEXT_LENGTH = 65_536  # characters
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799  # 0001-01-01T00:00:00Z, 9999-12-31T23:59:59Z: Python's dates
# Longer texts are read anew each time, so that what is remembered stays within some ten megabytes.
_REMEMBERED_TEXTS = 2_048
_REMEMBERED_CHARS = 1_000


class Step(StrEnum):
    """What comes next for a job; the words are those that the scripts take."""

    QUEUE = "queue"
    AT = "at"
    STOP = "stop"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a schedule asks for at one moment."""

    step: Step
    registered: str
    """The text that is registered for the job from then on."""
    due_at: float | None = None
    """With `Step.AT`: the time of the next run, Unix seconds."""
    reason: str | None = None
    """With `Step.BAD`: what is wrong with the text, in one line; with `Step.STOP`: why, where nobody asked to stop."""

    @property
    def leads_on(self) -> bool:
        """Whether there is a further run."""
        return self.step in (Step.QUEUE, Step.AT)


class Schedule(Protocol):
    """A schedule text that has been read."""

    needs_reference: ClassVar[bool]
    """Whether the reference time makes a difference to `first`."""

    @property
    def begins_anew(self) -> bool:
        """Whether each run depends on when the one before it ended, for want of a DTSTART."""

    @property
    def zone(self) -> str | None:
        """The IANA name of the zone by whose clock it goes; None: UTC."""

    def on_a_steady_clock(self) -> "Schedule":
        """The same schedule by a clock that never changes: wall times taken for UTC."""

    def first(self, reference: float) -> Plan:
        """What comes next when the schedule is set, with this reference time."""

    def again(self, now: float) -> Plan:
        """What comes next when a run of the job ends."""


def read(text: str) -> Schedule:
    """The meaning of a schedule text. Never fails: what cannot be read is a schedule whose every plan is `Step.BAD`."""
    if len(text) > MAX_TEXT_LENGTH:
        return _Bad(text, f"schedule of {len(text)} characters: at most {MAX_TEXT_LENGTH} are allowed")
    return _remembered(text) if len(text) <= _REMEMBERED_CHARS else _read(text)


@lru_cache(maxsize=_REMEMBERED_TEXTS)
def _remembered(text: str) -> Schedule:
    return _read(text)


def _read(text: str) -> Schedule:
    # In a shell, a line break is hard to type.
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
    """What goes by no zone's clock."""

    __slots__ = ()
    begins_anew: ClassVar[bool] = False
    zone: ClassVar[None] = None

    def on_a_steady_clock(self) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class _Bad(_Zoneless):
    needs_reference: ClassVar[bool] = False
    text: str
    reason: str

    def first(self, reference: float) -> Plan:  # noqa: ARG002 - as every schedule
        return Plan(Step.BAD, self.text, reason=self.reason)

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
    """`NOW` and `AT`: one run, for which the registered schedule becomes `STOP`.

    Registered as written is such a schedule only where another program wrote it; after its run it is over as well.
    """

    needs_reference: ClassVar[bool] = False
    plan: Plan

    def first(self, reference: float) -> Plan:  # noqa: ARG002 - as every schedule
        return self.plan

    def again(self, now: float) -> Plan:
        still_to_come = self.plan.due_at is not None and self.plan.due_at > now
        return self.plan if still_to_come else Plan(Step.STOP, "STOP")


class _Times(Protocol):
    """A recurrence, or a cron expression."""

    zone: str | None

    @property
    def begins_anew(self) -> bool: ...

    def after(self, reference: float) -> int | None: ...

    def on_a_steady_clock(self) -> "_Times": ...


class _Repeating:
    """Runs at certain times, again and again; registered as written."""

    needs_reference: ClassVar[bool] = True

    __slots__ = ("_last", "_over", "_text", "_times")

    def __init__(self, text: str, times: _Times, over: str) -> None:
        self._text, self._times, self._over = text, times, over
        self._last: tuple[float, Plan] | None = None

    @property
    def begins_anew(self) -> bool:
        return self._times.begins_anew

    @property
    def zone(self) -> str | None:
        return self._times.zone

    def on_a_steady_clock(self) -> Schedule:
        return _Repeating(self._text, self._times.on_a_steady_clock(), self._over)

    def first(self, reference: float) -> Plan:
        # Many jobs share a text, and their next run is the same one: the last answer often holds still.
        last = self._last
        if last is not None and last[0] <= reference and (last[1].due_at is None or reference < last[1].due_at):
            return last[1]
        try:
            due_at = self._times.after(reference)
        except BadRecurrence as error:
            return Plan(Step.BAD, self._text, reason=str(error))
        if due_at is None:
            plan = Plan(Step.STOP, self._text, reason=self._over)
        else:
            plan = Plan(Step.AT, self._text, due_at=due_at)
        if not self._times.begins_anew:
            self._last = (reference, plan)
        return plan

    again = first


@dataclass(frozen=True, slots=True)
class _Every(_Zoneless):
    """`EVERY`: registered as the recurrence that starts when it is set, which any other reader understands."""

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
                " nor a time of ISO 8601, such as AT:2026-12-24T18:00:00+01:00"
            ) from None
        due_at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if due_at < EARLIEST:
        raise ValueError(f"schedule {_shown(text)}: {rest} lies before the year 1; write AT:0 for a run at once")
    if due_at > LATEST:
        raise ValueError(f"schedule {_shown(text)}: {rest} lies after the year 9999; is it in milliseconds?")
    return _Once(Plan(Step.AT, "STOP", due_at=int(due_at) if due_at.is_integer() else due_at))


def _every(text: str, rest: str) -> Schedule:
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", rest, re.ASCII)
    if not match or int(match[1]) == 0:
        raise ValueError(
            f"schedule {_shown(text)}: {_shown(rest)} is not an interval: a whole number of seconds from 1 upwards is"
            " needed, or one with a unit: EVERY:90, EVERY:5m, EVERY:2h, EVERY:1d"
        )
    return _Every(_FREQUENCIES[match[2]], int(match[1]))


def _cron(text: str, rest: str) -> Schedule:
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
    try:
        return _Repeating(text, Recurrence(text), "the recurrence has no further run")
    except BadRecurrence as error:
        raise ValueError(f"schedule {_shown(text)}: {error}") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


_FORMS = "NOW, AT:TIME, CONTINUE, STOP, EVERY:INTERVAL, CRON:EXPRESSION or an iCalendar RRULE"
_FREQUENCIES = {"": "SECONDLY", "s": "SECONDLY", "m": "MINUTELY", "h": "HOURLY", "d": "DAILY"}
_WORDS: dict[str, Schedule] = {
    "NOW": _Once(Plan(Step.QUEUE, "STOP")),
    "CONTINUE": _Fixed(Plan(Step.QUEUE, "CONTINUE")),
    "STOP": _Fixed(Plan(Step.STOP, "STOP")),
}
_READERS: dict[str, Callable[[str, str], Schedule]] = {
    "AT:": _at,
    "EVERY:": _every,
    "CRON:": _cron,
}
