"""The table of jobs and the sections below it, as data. The command and the page use the same names and words.

The texts are not escaped: job ids, queues, notes and hosts are untrusted. The form that shows them escapes them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from redbike.looking.rows import Row, State
from redbike.looking.words import ahead, duration, length, moment


class Tone(StrEnum):
    """How a text is to be read. Each form chooses its own colours."""

    PLAIN = "plain"
    HEAD = "head"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    DIM = "dim"


class Column(StrEnum):
    """The columns of the table, in their order."""

    JOB = "JOB"
    SCHEDULE = "SCHEDULE"
    QUEUE = "QUEUE"
    STATUS = "STATUS"
    NEXT = "NEXT"
    LAST = "LAST"
    FAILS = "FAILS"


Cell = tuple[str, Tone]

TONES = {
    **dict.fromkeys((State.BAD, State.LOST, State.FAILED, State.TIMED_OUT), Tone.BAD),
    State.DUE: Tone.WARN,
    State.RUNNING: Tone.GOOD,
    State.PAUSED: Tone.DIM,
    State.STOPPED: Tone.DIM,
}
"""The tones of states; the other states are plain."""


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Return the columns of a table of these rows, in order: those of the worker come behind the job ids."""
    found = dict.fromkeys(head for row in rows for head in row.calls)
    job, *others = Column
    return [job, *(head for head in found if head not in others), *others]


def cells(row: Row, now: float) -> dict[str, Cell]:
    """Return what each column shows of a job."""
    tone = Tone.BAD if row.is_lost else TONES.get(row.state, Tone.PLAIN)
    quiet = Tone.DIM if tone is Tone.DIM else Tone.PLAIN
    calls: dict[str, Cell] = {head: (text or "-", quiet) for head, text in row.calls.items()}
    return calls | {
        Column.JOB: (row.jobid, quiet),
        Column.SCHEDULE: (row.in_words, quiet),
        Column.QUEUE: (row.shown_queue or "-", quiet),
        Column.STATUS: (status(row, now), tone),
        Column.NEXT: (upcoming(row, now), Tone.WARN if row.state is State.DUE else quiet),
        Column.LAST: (last_run(row, now), Tone.BAD if row.failures else quiet),
        Column.FAILS: (str(row.failures), Tone.BAD if row.failures else quiet),
    }


def status(row: Row, now: float) -> str:
    """Return what a job does, and for how long: `queued 3 s`; for a job that is due, how long it has been due."""
    since = row.next_run if row.state is State.DUE else row.since
    age = "" if since is None else f" {length(now - since)}"
    also = ", lost" if row.is_lost and row.state not in (State.LOST, State.BAD) else ""
    return f"{row.state}{age}{also}"


def upcoming(row: Row, now: float) -> str:
    """Return when a job runs next, or when it resumes; `-` if no time is known."""
    if row.resumes_at is not None:
        return f"resumes {at(row.resumes_at, now)}"
    return "-" if row.next_run is None else at(row.next_run, now)


def at(stamp: float, now: float) -> str:
    """Return a time, and how far it is: `21:20:03, in 3 h`."""
    return f"{moment(stamp, now)}, {ahead(stamp - now)}"


def last_run(row: Row, now: float) -> str:
    """Return how the last run ended, when, and how long it took; `-` before the first."""
    if row.last is None:
        return "-"
    last: dict[str, Any] = row.last
    return f"{last['outcome']} {moment(last['ended'], now)}, {duration(last['ended'] - last['began'])}"


# Order


URGENCY = (
    *(State.BAD, State.LOST, State.TIMED_OUT, State.FAILED, State.DUE, State.RUNNING, State.QUEUED),
    *(State.NEW, State.PLANNED, State.PAUSED, State.STOPPED),
)
"""The states in the order in which a person wants to see them."""

_RANK = {state: number for number, state in enumerate(URGENCY)}


def _urgency(row: Row) -> float:
    return min(_RANK[row.state], _RANK[State.LOST]) if row.is_lost else _RANK[row.state]


def _ended(row: Row) -> float | None:
    return None if row.last is None else -float(str(row.last["ended"]))


_NUMBERS: dict[str, Callable[[Row], float | None]] = {
    "status": _urgency,
    "next": lambda row: row.next_run,
    "last": _ended,
    "fails": lambda row: -row.failures,
}
_TEXTS: dict[str, Callable[[Row], str]] = {
    "job": lambda row: row.jobid,
    "queue": lambda row: row.shown_queue,
    "schedule": lambda row: row.schedule or "",
}
SORTS = ("status", "next", "last", "fails", "job", "queue", "schedule")
"""The words for an order. `last` begins with the latest run, `fails` with the most failures; `-` before turns it."""


def sorts(heads: Sequence[str]) -> tuple[str, ...]:
    """Return the words for an order, with those of the columns of the worker."""
    return tuple(dict.fromkeys((*SORTS, *(head.lower() for head in heads))))


def sorted_rows(rows: Iterable[Row], sort: str, by_queue: bool, take: Callable[..., list[Row]]) -> list[Row]:
    """Return rows in this order. `take`: called with the rows and `key`, such as heapq.nsmallest with its number.

    Jobs without a value, such as a next run, come last in both directions. Jobs with the same come by their ids.
    """
    name = sort.removeprefix("-")
    sign = -1 if sort.startswith("-") else 1
    if name not in _NUMBERS:
        text = _TEXTS.get(name) or _cell_of(name.upper())

        def value(row: Row) -> Any:
            found = text(row)
            return (not found, _Turned(found) if sign < 0 else found)
    else:
        number = _NUMBERS[name]

        def value(row: Row) -> Any:
            found = number(row)
            return math.inf if found is None else sign * found

    def key(row: Row) -> tuple[Any, ...]:
        second = row.next_run if name == "status" and row.next_run is not None else math.inf
        return (row.shown_queue if by_queue else "", value(row), second, row.jobid)

    return take(rows, key=key)


def _cell_of(head: str) -> Callable[[Row], str]:
    return lambda row: row.calls.get(head, "")


class _Turned(str):
    """A text that comes before all smaller texts."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


class Section(NamedTuple):
    """A part below the table: a line of text, or a small table, or both."""

    title: str
    text: str
    tone: Tone = Tone.PLAIN
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
