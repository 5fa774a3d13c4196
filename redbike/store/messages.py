"""The arguments and replies of the transitions, as typed tuples. This module does not call Redis.

`promote` and `turn` return one text, and this module takes it apart. For a reply of many parts, redis-py would need
nine microseconds more, or two microseconds more with the C parser hiredis.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, TypedDict

from redbike.schedule.plan import Action
from redbike.server.connection import Packed
from redbike.store.jobid import tags_may_spell_queues
from redbike.store.text import decode, encode


class EndReply(StrEnum):
    """The answer of `turn` about the run that it should end."""

    NOT_ASKED = "-"
    DONE = "ended"
    LATE = "late"  # the tag is gone or belongs to another run: nothing was changed
    CHANGED = "changed"  # somebody has set another schedule: nothing was changed, decide again
    OUTDATED = "outdated"  # another process uses this client id: take another client id, and call again


class Placement(NamedTuple):
    """The arguments of `place` for one job."""

    jobid: str
    queue_key: str
    text: str | None  # schedule to register; None: leave schedule and timeline unchanged (run now)
    action: Action  # QUEUE, AT, STOP or BAD
    due_at: float | None = None
    once: bool = False  # a repeated call would run the job twice, so the memo keeps the request id
    payload: str | None = None  # None: leave the payload of the job as it is; "": remove it
    note: str = ""  # of a job from a file: who owns the job, and a digest of its row
    former: str | None = None  # place the job only if it has this note now, "" for none; None: in any case


class Told(TypedDict):
    """The state of a job, as `Redbike.tell` returns it."""

    status: str | None  # EVENT:TIMESTAMP
    next_run: float | None  # Unix seconds
    schedule: str | None
    working: bool


class Look(NamedTuple):
    """The result of a look at the timeline."""

    now: float
    halted: bool
    due: list[bytes]  # ids of due jobs
    first: tuple[bytes, float] | None  # if no job is due: id and due time of the next job
    queued: int = 0
    troubles: tuple[tuple[str, str], ...] = ()  # queue key, error text

    @classmethod
    def of(cls, reply: bytes, queue_keys: Sequence[str]) -> "Look":
        """Read a reply of `promote`."""
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


class Queues:
    """The queues that a worker serves, as arguments of `turn`."""

    def __init__(self, triples: Sequence[tuple[str, str, str]], timeouts_ms: Sequence[int]) -> None:
        """Take list, members and bell of each queue, and the timeout of a run from each queue, in milliseconds."""
        self.keys = [queue_key for queue_key, _, _ in triples]
        self.packed_keys = Packed([encode(key) for triple in triples for key in triple])
        self.number = b"%d" % len(timeouts_ms)
        self.packed_timeouts = Packed([b"%d" % ms for ms in timeouts_ms])
        self.cautions = b"spell" if tags_may_spell_queues(self.keys) else b""


class Places(NamedTuple):
    """The places of an order at which a turn may look."""

    spec: bytes  # the queues in the order to look: for each the character with the code of its number plus 48
    queues: Queues
    places: int  # the number of places, with repetitions
    left: int = 0  # the number of places of the order that remain for further turns


NO_PLACES = Places(b"", Queues((), ()), 0)


class RunEnd(NamedTuple):
    """The end of a run: the next action, and the schedule text from which it was decided."""

    jobid: str
    tag: str
    taken_from: str  # queue key
    goes_to: str  # queue key
    known_text: bytes | None
    action: Action
    due_at: float | None = None
    tries: int | None = None  # the retries before the action is taken; 0: the run succeeded; None: not counted
    overdue: bool = False  # the run has exceeded its timeout
    began_at: float | None = None  # if the run ended within its timeout: its begin, server's time, Unix seconds
    later_s: float | None = None  # the run has not happened: again after so many seconds
    outcome: str = ""  # a word of Outcome, for the history
    since: float | None = None  # the begin of the run, server's time, Unix seconds
    error: str = ""  # one line
    planned: bytes = b""  # due time and attempt, as `turn` returned them; empty if the due time was not known


class Overdue(NamedTuple):
    """A run that has exceeded its timeout without an end."""

    jobid: str
    tag: str
    queue_key: str
    text: bytes | None


class Turn(NamedTuple):
    """The result of `turn`."""

    now: float
    ended: EndReply
    changed_text: bytes | None
    halted: bool
    place: int | None  # index of the place that gave the job
    jobid: bytes | None
    text: bytes | None
    troubles: tuple[tuple[str, str], ...]  # queue key, error text
    payload: bytes = b""
    planned: bytes = (
        b""  # due time (Unix seconds) and attempt, with a blank between; empty if the due time is not known
    )

    @classmethod
    def of(cls, reply: bytes, places: Places) -> "Turn":
        """Read a reply of `turn`, which looked at these places."""
        head, _, rest = reply.partition(b"\n")
        second, microsecond, how, halted, place, job_length, text_length, payload_length, attempt, due_at = head.split()
        job_end = int(job_length)
        text_end = job_end + max(0, int(text_length))
        payload_end = text_end if payload_length == b"0" else text_end + int(payload_length)
        text = None if text_length == b"-1" else rest[job_end:text_end]
        ended = _ENDED[how]
        return cls(
            int(second) + int(microsecond) / 1_000_000,
            ended,
            text if ended is EndReply.CHANGED else None,
            halted == b"1",
            int(place) - 1 if place != b"0" else None,
            rest[:job_end] if place != b"0" else None,
            None if ended is EndReply.CHANGED else text,
            _troubles(rest[payload_end:].split(b"\n"), places.queues.keys) if len(rest) > payload_end else (),
            rest[text_end:payload_end],
            b"" if due_at == b"-" else due_at + b" " + attempt,
        )


def _troubles(lines: Iterable[bytes], queue_keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the queue key and the error of each line, which holds a queue number and an error."""
    numbers_and_errors = (line.partition(b" ") for line in lines)
    return tuple((queue_keys[int(number) - 1], decode(error)) for number, _, error in numbers_and_errors)


_ENDED = {ended.encode(): ended for ended in EndReply}
