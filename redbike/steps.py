"""The words of the atomic steps: what they are told and what they answer, as typed tuples. Knows no Redis."""

from enum import StrEnum
from typing import NamedTuple


def encode(text: str) -> bytes:
    """Text as it stands in Redis; what was not UTF-8 there comes back as the bytes that it was."""
    return text.encode("utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    """The inverse of `encode`: never fails; odd bytes become lone surrogates (PEP 383)."""
    return raw.decode("utf-8", "surrogateescape")


class Ended(StrEnum):
    """How ending a run went."""

    NOT_ASKED = "-"
    DONE = "ended"
    LATE = "late"  # the tag is gone or another's: nothing was changed
    CHANGED = "changed"  # another schedule by now: plan again


class Placement(NamedTuple):
    """What `place` is to do for one job."""

    jobid: str
    queue_key: str
    text: str | None  # schedule to register; None: leave schedule and timeline as they are
    step: str  # 'queue', 'at', 'stop' or 'bad'
    due_at: float | None = None
    once: bool = False  # doing it twice would run the job twice, or it may be under way already: its nonce is noted


class Look(NamedTuple):
    """What there is to see of the timeline."""

    now: float
    halted: bool
    due: list[bytes]  # ids of jobs that are due
    first: tuple[bytes, float] | None  # where none is due: id and due time of the first to come
    queued: int = 0
    troubles: tuple[tuple[str, str], ...] = ()  # queue key, error text


class Places(NamedTuple):
    """The queues that a turn may look at; made once and used for many turns."""

    spec: str  # numbers of the queues in the order to look, parted by blanks
    keys: tuple[str, ...]  # list, members, bell of each queue
    timeouts_ms: tuple[int, ...]  # of each queue
    places: int  # how many, repetitions included


NO_PLACES = Places("", (), (), 0)


class Ending(NamedTuple):
    """How a run ends: the plan, and the schedule text that it was made from."""

    jobid: str
    tag: str
    taken_from: str  # queue key
    goes_to: str  # queue key
    known_text: bytes | None
    step: str  # as in Placement, or 'die', 'quit', 'unset'
    due_at: float | None = None
    tries: int | None = None  # how often to try again before the step is taken; 0: it went well; None: not counted
    overdue: bool = False  # the run has outlived its timeout


class Overdue(NamedTuple):
    """A run that has outlived its timeout without being ended."""

    jobid: str
    tag: str
    queue_key: str
    text: bytes | None


class Turn(NamedTuple):
    """What `turn` did."""

    now: float
    ended: Ended
    changed_text: bytes | None
    halted: bool
    place: int | None  # index of the place that gave the job
    jobid: bytes | None
    text: bytes | None
    troubles: tuple[tuple[str, str], ...]  # queue key, error text


ENDED = {ended.encode(): ended for ended in Ended}
