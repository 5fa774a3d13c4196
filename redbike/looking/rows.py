"""The jobs of a prefix as rows of a table: what each job is, and what became of its last run.

Rows are read in pages, a few commands per page, so that 100,000 jobs take a second and no memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from redbike.looking.asking import ask
from redbike.looking.processes import finite
from redbike.looking.schedules import schedule_in_words
from redbike.schedule.forms import PAUSED, read
from redbike.schedule.plan import Action
from redbike.store.details import LastRun
from redbike.store.keys import Event
from redbike.store.text import decode, encode

if TYPE_CHECKING:
    from redbike.bike import Redbike

_MOST_QUEUES = 1000
_PAGE = 1000  # jobs per round trip
_MOST_FEW = 10_000
BROKERS_QUEUE = "QUEUE"
"""The column of a worker that names the queue of a broker. It takes the place of the queue of Redbike in the table."""
DECIDED = "as its worker decides"
_NOTHING: Mapping[str, str] = {}
LATE_S = 1.0  # a job on the timeline is due if no dispatcher has queued it within this time


class State(StrEnum):
    """What a job does now, in one or two words."""

    PLANNED = "planned"  # on the timeline
    DUE = "due"  # on the timeline, and its time has passed: no dispatcher has queued it yet
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"  # its schedule has no further run
    FAILED = "failed"  # its last run failed, and no further run is planned
    TIMED_OUT = "timed out"  # its last run had no end within its timeout, and no further run is planned
    LOST = "lost"  # it should run, but is neither planned, queued nor running
    BAD = "bad"  # its schedule cannot be read, or no queue can take it
    NEW = "new"  # registered by another program; no dispatcher has seen it yet


class Row(NamedTuple):
    """One job. Times are in Unix seconds."""

    jobid: str
    schedule: str | None
    queue: str
    state: State
    since: int | None
    """When the state began; None if it is not known."""
    next_run: float | None
    last: LastRun | None
    resumes_at: float | None
    is_lost: bool
    """Whether the job should run again, but is in no place: `redbike lost` prints it."""
    calls: Mapping[str, str] = _NOTHING
    """What it calls: the columns that the worker makes of its payload. Only `Calls.fill` reads payloads."""
    worker_decides: bool = False
    """True if no text can express the schedule, so the payload has it: the job is on CONTINUE, and each run returns the
    time of the next run.

    Known with `calls`.
    """

    @property
    def in_words(self) -> str:
        """The schedule in words; `-` without a schedule."""
        return DECIDED if self.worker_decides else schedule_in_words(self.schedule)

    @property
    def shown_queue(self) -> str:
        """The queue in the table: the broker's queue, if the worker has a column for it; it may be empty."""
        return self.calls.get(BROKERS_QUEUE, self.queue)

    @property
    def failures(self) -> int:
        """The failed runs in a row."""
        return 0 if self.last is None else int(str(self.last["failures"]))

    def as_json(self) -> dict[str, object]:
        """Return the row as `--json` prints it."""
        return {
            "job": self.jobid,
            "schedule": self.schedule,
            "in_words": self.in_words,
            "queue": self.queue,
            "calls": dict(self.calls),
            "status": self.state.value,
            "since": self.since,
            "next_run": self.next_run,
            "last_run": self.last,
            "failures": self.failures,
            "resumes_at": self.resumes_at,
            "lost": self.is_lost,
        }


class Rows:
    """The rows of one prefix."""

    def __init__(self, bike: "Redbike") -> None:
        self._bike = bike
        self._parts = bike._parts
        self._keys = bike._parts.keys

    def all(self) -> Iterator[Row]:
        """Yield the row of every job, in no order. Jobs that only have a status come last."""
        with_status = 0
        few = self._few()
        for page in self._pages(self._keys.schedules):
            for row in self._rows(list(page.items()), few):
                with_status += row.since is not None
                yield row
        if self._parts.ask(self.redis.hlen, self._keys.statuses) <= with_status:
            return
        for page in self._pages(self._keys.statuses):
            ids = list(page)
            schedules: Any = self._parts.ask(self.redis.hmget, self._keys.schedules, ids)
            unset = [(jobid, None) for jobid, text in zip(ids, schedules, strict=True) if text is None]
            yield from self._rows(unset, few)

    def queues(self) -> set[str]:
        """Return the names of the queues of all registered jobs, a thousand or a few more at most."""
        found: set[str] = set()
        for page in self._pages(self._keys.schedules):
            found.update(self._queue(decode(jobid)) for jobid in page)
            if len(found) >= _MOST_QUEUES:
                break
        return found

    def of(self, jobids: Iterable[str]) -> list[Row]:
        """Return the rows of these jobs, in this order. A job that is not registered has no row."""
        ids = [encode(jobid) for jobid in jobids]
        found: list[Row] = []
        for first in range(0, len(ids), _PAGE):
            page = ids[first : first + _PAGE]
            schedules: Any = self._parts.ask(self.redis.hmget, self._keys.schedules, page)
            found += self._rows(list(zip(page, schedules, strict=True)))
        return [row for row in found if row.schedule is not None or row.since is not None or row.state != State.NEW]

    @property
    def redis(self) -> Any:
        """The client."""
        return self._bike.redis

    def _pages(self, key: str) -> Iterator[dict[bytes, bytes]]:
        """Yield the fields of a hash, page by page. Each page is a separate call, which may be repeated."""
        cursor = 0
        while True:
            cursor, fields = self._parts.ask(partial(self.redis.hscan, key, cursor, count=_PAGE))
            if fields:
                yield fields
            if cursor == 0:
                return

    def _few(self) -> list[dict[bytes, float] | None]:
        """Return P:extra and P:resume as dicts; None for a key with many members.

        Few jobs are in them. To ask for each job takes a quarter of the time of a listing.
        """
        keys = (self._keys.extra, self._keys.resume)
        sizes = self._ask(*(("ZCARD", key) for key in keys))
        members = self._ask(*(("ZRANGE", key, 0, _MOST_FEW, "WITHSCORES") for key in keys))
        return [
            dict(score_pairs(found)) if size is not None and size <= _MOST_FEW else None
            for size, found in zip(sizes, members, strict=True)
        ]

    def _rows(
        self, jobs: Sequence[tuple[bytes, bytes | None]], few: Sequence[dict[bytes, float] | None] = (None, None)
    ) -> list[Row]:
        """Return the rows of these (job id, schedule text) pairs, in two round trips at most.

        `few`: what `_few` returned; None for what is to be asked for these jobs.
        """
        if not jobs:
            return []
        keys, ids = self._keys, [jobid for jobid, _ in jobs]
        statuses, scores, runs, *asked = self._ask(
            ("HMGET", keys.statuses, *ids),
            ("ZMSCORE", keys.timeline, *ids),
            ("HMGET", keys.runs, *ids),
            *(
                ("ZMSCORE", key, *ids)
                for key, known in zip((keys.extra, keys.resume), few, strict=True)
                if known is None
            ),
        )
        extras, all_resumes = (asked.pop(0) if known is None else [*map(known.get, ids)] for known in few)
        now = self._bike.now()
        names = [self._queue(decode(jobid)) for jobid in ids]
        events = [event_and_time(status) for status in statuses or [None] * len(ids)]
        empty: list[Any] = [None] * len(ids)
        dues = [_earliest(*pair) for pair in zip(scores or empty, extras or empty, strict=True)]
        places = self._places(ids, names, events, dues)
        found = []
        columns = zip(jobs, names, events, dues, runs or empty, all_resumes or empty, strict=True)
        for (jobid, text), queue, (event, since), due, last, resumes_at in columns:
            schedule = None if text is None else decode(text)
            state = _state(schedule, event, due, places.get(jobid), now)
            resumes = finite(resumes_at) if state is State.PAUSED else None
            is_lost = _is_lost(schedule, state, now)
            found.append(Row(decode(jobid), schedule, queue, state, since, due, LastRun.of(last), resumes, is_lost))
        return found

    def _places(
        self,
        ids: Sequence[bytes],
        names: Sequence[str],
        events: Sequence[tuple[str, int | None]],
        dues: Sequence[float | None],
    ) -> dict[bytes, State]:
        """Return which of these jobs are running, and which are queued, in one round trip at most."""
        keys = self._keys
        running: list[tuple[bytes, str]] = []
        by_queue: dict[str, list[bytes]] = {}
        for jobid, name, (event, _), due in zip(ids, names, events, dues, strict=True):
            if event == Event.WORKING:
                running.append((jobid, keys.tag(keys.queue(name), decode(jobid))))
            if due is None and event not in (Event.STOPPED, Event.BAD):
                by_queue.setdefault(name, []).append(jobid)
        commands = [("EXISTS", encode(tag)) for _, tag in running]
        commands += [("SMISMEMBER", encode(keys.members(keys.queue(name))), *some) for name, some in by_queue.items()]  # type: ignore[misc]
        replies = self._ask(*commands) if commands else []
        found = {
            jobid: State.QUEUED
            for some, known in zip(by_queue.values(), replies[len(running) :], strict=True)
            for jobid, is_there in zip(some, known or [0] * len(some), strict=True)
            if is_there
        }
        return found | {jobid: State.RUNNING for (jobid, _), exists in zip(running, replies, strict=False) if exists}

    def _ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        return ask(self._bike, *commands)

    def _queue(self, jobid: str) -> str:
        return self._keys.queue_name(self._parts.queue_for_any(jobid))


def score_pairs(reply: Any) -> list[tuple[bytes, float]]:
    """Return members and scores of a reply. RESP2 returns a flat list, RESP3 pairs."""
    found = list(reply or ())
    if found and isinstance(found[0], (list, tuple)):
        return [(member, float(score)) for member, score in found]
    return [(found[number], float(found[number + 1])) for number in range(0, len(found), 2)]


def event_and_time(status: bytes | None) -> tuple[str, int | None]:
    """Return the event of a status, and its Unix time; None for a time that cannot be read."""
    event, _, at = (status or b"").partition(b":")
    return decode(event), int(at) if at.isdigit() and len(at) < 16 else None


def _earliest(*scores: Any) -> float | None:
    return min((at for at in map(finite, scores) if at is not None), default=None)


def _state(schedule: str | None, event: str, due: float | None, place: State | None, now: float) -> State:
    if place is State.RUNNING:
        return place
    if schedule is not None and schedule.strip().startswith(PAUSED):
        return State.PAUSED
    if event == Event.BAD:
        return State.BAD
    if place is not None:
        return place
    if due is not None:
        return State.DUE if due < now - LATE_S else State.PLANNED
    return _OF_EVENT.get(event, State.NEW)


_OF_EVENT: dict[str, State] = {
    Event.STOPPED: State.STOPPED,
    Event.DIED: State.FAILED,
    Event.WORKING: State.TIMED_OUT,
    Event.QUEUED: State.LOST,
    Event.TIMELINE: State.LOST,
}
_IN_NO_PLACE = frozenset({State.FAILED, State.TIMED_OUT, State.LOST, State.BAD, State.NEW})


def _is_lost(schedule: str | None, state: State, now: float) -> bool:
    """Return whether a job should run again, but is in no place. `Query.lost` decides in the same way."""
    if schedule is None or state not in _IN_NO_PLACE:
        return False
    plan = read(schedule).again(now)
    return plan.leads_on or plan.action is Action.BAD


STATES = tuple(chain(State, ("failing",)))
"""The words by which rows can be chosen."""
