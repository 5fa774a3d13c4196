"""The words of the atomic steps: what they are told and what they answer, as typed tuples. Knows no Redis."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


def encode(text: str) -> bytes:
    """Text as it stands in Redis; what was not UTF-8 there comes back as the bytes that it was."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")  # no text that came from Redis


def decode(raw: bytes) -> str:
    """The inverse of `encode`: never fails; odd bytes become lone surrogates (PEP 383)."""
    return raw.decode("utf-8", "surrogateescape")


class Ended(StrEnum):
    """How ending a run went."""

    NOT_ASKED = "-"
    DONE = "ended"
    LATE = "late"  # the tag is gone or another's: nothing was changed
    CHANGED = "changed"  # another schedule by now: plan again
    OUTDATED = "outdated"  # another process has the name of this caller: take a new one, and call again


class Placement(NamedTuple):
    """What `place` is to do for one job."""

    jobid: str
    queue_key: str
    text: str | None  # schedule to register; None: leave schedule and timeline as they are (a run by hand)
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

    @classmethod
    def of(cls, reply: bytes, queue_keys: Sequence[str]) -> "Look":
        """What a reply of `promote` tells."""
        head, lengths, first_due, rest = reply.split(b"\n", 3)
        clock, halted, queued, trouble_count = head.split()
        *trouble_lines, rest = rest.split(b"\n", int(trouble_count))
        if lengths:
            ids, at = [], 0
            for length in map(int, lengths.split()):
                ids.append(rest[at : at + length])
                at += length
        else:
            ids = rest.split(b"\n") if rest else []
        first = (ids[0], float(first_due)) if first_due else None
        troubles = _troubles(trouble_lines, queue_keys)
        return cls(float(clock), halted == b"1", [] if first_due else ids, first, int(queued), troubles)


@dataclass(frozen=True, eq=False, slots=True)
class Queues:
    """The queues that a worker serves; told apart by identity."""

    keys: tuple[str, ...]  # list, members, bell of each
    timeouts_ms: tuple[int, ...]  # of each


class Places(NamedTuple):
    """The places of an order that a turn may look at."""

    spec: bytes  # the queues in the order to look: for each the character of its number and 48
    queues: Queues
    places: int  # how many, repetitions included
    left: int = 0  # how many more places of the order there are to look at in further turns


NO_PLACES = Places(b"", Queues((), ()), 0)


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
    began_at: float | None = None  # where it ended within its timeout: server's time of its begin, Unix seconds


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

    @classmethod
    def of(cls, reply: bytes, places: Places) -> "Turn":
        """What a reply of `turn` tells that looked at these places."""
        head, _, rest = reply.partition(b"\n")
        second, microsecond, how, halted, place, job_length, text_length = head.split()
        job_end = int(job_length)
        text_end = job_end + max(0, int(text_length))
        text = None if text_length == b"-1" else rest[job_end:text_end]
        ended = _ENDED[how]
        return cls(
            int(second) + int(microsecond) / 1_000_000,
            ended,
            text if ended is Ended.CHANGED else None,
            halted == b"1",
            int(place) - 1 if place != b"0" else None,
            rest[:job_end] if place != b"0" else None,
            None if ended is Ended.CHANGED else text,
            _troubles(rest[text_end:].split(b"\n"), places.queues.keys[::3]) if len(rest) > text_end else (),
        )


def _troubles(lines: Iterable[bytes], queue_keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Queue keys and errors, from lines of queue number and error."""
    numbers_and_errors = (line.partition(b" ") for line in lines)
    return tuple((queue_keys[int(number) - 1], decode(error)) for number, _, error in numbers_and_errors)


_ENDED = {ended.encode(): ended for ended in Ended}
