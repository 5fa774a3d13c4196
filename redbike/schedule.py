"""Schedule texts: what each form means, and what comes next for a job that has one.

Knows neither Redis nor a clock: every question brings its reference time, in Unix seconds.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Protocol

from redbike.recurrence import BadRecurrence, Recurrence, parse

MAX_TEXT_LENGTH = 65_536  # characters
LATEST = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that Python's dates know
_PARSED = 4096  # schedule texts kept parsed


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


class Schedule(Protocol):
    """A schedule text that has been read."""

    needs_reference: ClassVar[bool]
    """Whether the reference time makes a difference to `first`."""

    def first(self, reference: float) -> Plan:
        """What comes next when the schedule is set, with this reference time."""

    def again(self, now: float) -> Plan:
        """What comes next when a run of the job ends."""


def read(text: str) -> Schedule:
    """The meaning of a schedule text. Never fails: what cannot be read is a schedule whose every plan is `Step.BAD`."""
    if len(text) > MAX_TEXT_LENGTH:
        # Not cached: a few of these would fill the memory.
        return _Bad(text, f"schedule of {len(text)} characters: at most {MAX_TEXT_LENGTH} are allowed")
    return _read(text)


@lru_cache(maxsize=_PARSED)
def _read(text: str) -> Schedule:
    # In a shell, a line break is hard to type.
    meant = text.replace("\\n", "\n").strip()
    try:
        meant.encode()
        if not meant:
            raise ValueError(f"schedule is empty: give one of {_FORMS}")
        word, colon, rest = meant.partition(":")
        reader = _READERS.get(word + colon, _recurring)
        return reader(meant, rest.strip())
    except UnicodeEncodeError:
        return _Bad(text, "schedule is not valid UTF-8")
    except ValueError as error:
        return _Bad(text, str(error))


@dataclass(frozen=True, slots=True)
class _Bad:
    needs_reference: ClassVar[bool] = False
    text: str
    reason: str

    def first(self, reference: float) -> Plan:  # noqa: ARG002 - as every schedule
        return Plan(Step.BAD, self.text, reason=self.reason)

    again = first


@dataclass(frozen=True, slots=True)
class _Fixed:
    """`CONTINUE` and `STOP`: the same plan at any time."""

    needs_reference: ClassVar[bool] = False
    plan: Plan

    def first(self, reference: float) -> Plan:  # noqa: ARG002 - as every schedule
        return self.plan

    again = first


@dataclass(frozen=True, slots=True)
class _Once:
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


@dataclass(frozen=True, slots=True)
class _Recurring:
    needs_reference: ClassVar[bool] = True
    text: str
    recurrence: Recurrence

    def first(self, reference: float) -> Plan:
        try:
            due_at = self.recurrence.after(reference)
        except BadRecurrence as error:
            return Plan(Step.BAD, self.text, reason=str(error))
        if due_at is None:
            return Plan(Step.STOP, self.text, reason="the recurrence has no further run")
        return Plan(Step.AT, self.text, due_at=due_at)

    again = first


def _word(text: str, rest: str) -> Schedule:
    if rest or text.endswith(":"):
        raise ValueError(f"schedule {_shown(text)}: nothing may follow {text.partition(':')[0]}")
    return _WORDS[text]


def _at(text: str, rest: str) -> Schedule:
    if not re.fullmatch(r"[+-]?\d{1,15}(\.\d+)?", rest, re.ASCII):
        raise ValueError(
            f"schedule {_shown(text)}: {_shown(rest)} is not a Unix time in seconds, such as AT:1790000000"
        )
    due_at = float(rest)
    if not math.fabs(due_at) <= LATEST:
        raise ValueError(f"schedule {_shown(text)}: {rest} lies after the year 9999; is it in milliseconds?")
    return _Once(Plan(Step.AT, "STOP", due_at=int(due_at) if due_at.is_integer() else due_at))


def _recurring(text: str, rest: str) -> Schedule:  # noqa: ARG001 - as every reader
    if text.upper() in _WORDS or text[:3].upper() == "AT:":
        raise ValueError(f"schedule {_shown(text)}: write {text.partition(':')[0].upper()} in capitals")
    try:
        return _Recurring(text, parse(text))
    except BadRecurrence as error:
        raise ValueError(f"schedule {_shown(text)}: {error}") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


_FORMS = "NOW, AT:TIMESTAMP, CONTINUE, STOP or an iCalendar RRULE"
_WORDS: dict[str, Schedule] = {
    "NOW": _Once(Plan(Step.QUEUE, "STOP")),
    "CONTINUE": _Fixed(Plan(Step.QUEUE, "CONTINUE")),
    "STOP": _Fixed(Plan(Step.STOP, "STOP")),
}
_READERS: dict[str, Callable[[str, str], Schedule]] = {
    "NOW": _word,
    "CONTINUE": _word,
    "STOP": _word,
    "AT:": _at,
}
