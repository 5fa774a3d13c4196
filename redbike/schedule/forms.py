"""The forms of a schedule text, and what comes next for a job with each form.

Knows neither Redis nor a clock: the caller gives a reference time with every question, in Unix seconds.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar, Protocol, Self

from redbike.schedule.plan import Action, Plan, Schedule
from redbike.schedule.rrule.errors import BadRecurrence

MAX_TEXT_LENGTH = 65_536  # characters
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799  # 0001-01-01T00:00:00Z, 9999-12-31T23:59:59Z: Python's dates
# Longer texts are read again each time, so that the cache stays within about ten megabytes.
_REMEMBERED_TEXTS = 2_048
_REMEMBERED_CHARS = 1_000
_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d+)?", re.ASCII)
_ISO_TIME = re.compile(r"[0-9W-]{7,10}([Tt_ ][0-9:.,]+ ?([Zz]|[+-][0-9:.]+)?)?", re.ASCII)


def read_time(text: str) -> float:
    """Return a Unix time in seconds, or a time in ISO 8601, as Unix seconds. Without an offset, a time is in UTC.

    Raise ValueError, with the text and the two forms, for any other text, and for a time outside the years 1 to 9999.
    """
    if _NUMBER.fullmatch(text):
        stamp = float(text)
    else:
        try:
            if not _ISO_TIME.fullmatch(text):
                raise ValueError(text)
            moment = datetime.fromisoformat(text.upper())
        except ValueError:
            raise ValueError(
                f"{shown(text)} is not a time in Unix seconds, such as 1790000000, or in ISO 8601, such as"
                " 2026-12-24T18:00:00+01:00"
            ) from None
        stamp = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if stamp < EARLIEST:
        raise ValueError(f"{shown(text)} is before the year 1: the earliest time is {EARLIEST}")
    if stamp > LATEST:
        raise ValueError(f"{shown(text)} is after the year 9999; is it in milliseconds?")
    return int(stamp) if stamp.is_integer() else stamp


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
        if meant in WORDS:
            return WORDS[meant]
        word, colon, rest = meant.partition(":")
        reader = READERS.get(word + colon, _recurring)
        return reader(meant, rest.strip())
    except UnicodeEncodeError:
        return _Bad(text, "schedule is not valid UTF-8")
    except ValueError as error:
        return _Bad(text, str(error))


class _Zoneless:
    """A schedule that depends on no zone."""

    __slots__ = ()
    restarts: ClassVar[bool] = False
    may_end: ClassVar[bool] = True
    zone: ClassVar[None] = None

    def read_as_utc(self) -> Self:
        return self

    def warnings(self, reference: float) -> Sequence[str]:  # noqa: ARG002 - as every schedule
        return ()


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
    def may_end(self) -> bool: ...

    @property
    def restarts(self) -> bool: ...

    def after(self, reference: float) -> int | None: ...

    def read_as_utc(self) -> "_Times": ...

    def warnings(self, reference: float) -> Sequence[str]: ...


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
    def may_end(self) -> bool:
        return self._times.may_end

    @property
    def zone(self) -> str | None:
        return self._times.zone

    def read_as_utc(self) -> Schedule:
        return _Repeating(self._text, self._times.read_as_utc(), self._over)

    def warnings(self, reference: float) -> Sequence[str]:
        warnings = self._times.warnings(reference)
        return [*warnings, _RESTARTS] if self.restarts and self.first(reference).leads_on else warnings

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


def _paused(text: str, rest: str) -> Schedule:  # noqa: ARG001 - as every reader
    return _Fixed(Plan(Action.PAUSE, f"{PAUSED}{rest}", reason="the schedule is paused"))


def _at(text: str, rest: str) -> Schedule:
    try:
        due_at = read_time(rest)
    except ValueError as error:
        raise ValueError(f"schedule {shown(text)}: {error}") from None
    return _Once(Plan(Action.AT, "STOP", due_at=due_at))


def _every(text: str, rest: str) -> Schedule:
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", rest, re.ASCII)
    if not match or int(match[1]) == 0:
        raise ValueError(
            f"schedule {shown(text)}: {shown(rest)} is not an interval: write a whole number of seconds, at"
            " least 1, or a number with a unit: EVERY:90, EVERY:5m, EVERY:2h, EVERY:1d"
        )
    return _Every(_FREQUENCIES[match[2]], int(match[1]))


def _cron(text: str, rest: str) -> Schedule:
    from redbike.schedule import cron

    try:
        return _Repeating(text, cron.parse(rest), "the cron expression has no run within fifty years")
    except ValueError as error:
        raise ValueError(f"schedule {shown(text)}: {error}") from error


def _recurring(text: str, rest: str) -> Schedule:  # noqa: ARG001 - as every reader
    word = re.split(r"[:\s]", text, maxsplit=1)[0].upper()
    if text.upper() in WORDS or text.upper().startswith(tuple(READERS)):
        raise ValueError(f"schedule {shown(text)}: write {word} in capitals")
    if word in WORDS:
        raise ValueError(f"schedule {shown(text)}: nothing may follow {word}")
    from redbike.schedule.rrule.recurrence import Recurrence

    try:
        return _Repeating(text, Recurrence(text), "the recurrence has no further run")
    except BadRecurrence as error:
        from redbike.schedule.suggest import looks_like_a_recurrence, suggestion

        meant = suggestion(text)
        if meant is None and looks_like_a_recurrence(text):
            raise ValueError(f"schedule {shown(text)}: {error}") from error
        hint = "" if meant is None else f": did you mean {meant}?"
        raise ValueError(f"schedule {shown(text)} is none of {_FORMS}{hint}") from error


def shown(text: str) -> str:
    """Return a schedule as a one-line message may show it: quoted, and shortened."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


PAUSED = "PAUSED:"
"""The word before the schedule of a paused job."""

_FORMS = "NOW, AT:TIME, CONTINUE, STOP, EVERY:INTERVAL, CRON:EXPRESSION or an iCalendar RRULE"
_RESTARTS = "without DTSTART, the recurrence starts again after each run: times drift, and COUNT is never used up"
_FREQUENCIES = {"": "SECONDLY", "s": "SECONDLY", "m": "MINUTELY", "h": "HOURLY", "d": "DAILY"}
WORDS: dict[str, Schedule] = {
    "NOW": _Once(Plan(Action.QUEUE, "STOP")),
    "CONTINUE": _Fixed(Plan(Action.QUEUE, "CONTINUE")),
    "STOP": _Fixed(Plan(Action.STOP, "STOP")),
}
READERS: dict[str, Callable[[str, str], Schedule]] = {
    PAUSED: _paused,
    "AT:": _at,
    "EVERY:": _every,
    "CRON:": _cron,
}
