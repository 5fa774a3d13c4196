"""Move jobs from the store of another scheduler: compare them with the jobs in Redis, and set the jobs that differ.

Until Redbike has run a job, an import sets the job as the other store has it. After the first run, an import does not
change the job.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import islice
from typing import NamedTuple

from redbike.bike import Redbike
from redbike.engine.planning import check_payload
from redbike.errors import JobIdError, PayloadError
from redbike.schedule.forms import PAUSED, read, shown
from redbike.schedule.plan import Action
from redbike.store.messages import Placement
from redbike.store.moved import Held, Moved, PastRuns

_PAGE = 500  # jobs a round trip
_RHYTHM = re.compile(r"DTSTART:[0-9T]+Z?\n(RRULE:FREQ=[A-Z]+(?:;INTERVAL=[0-9]+)?)")
"""Matches an interval as it is registered. The group is the interval without its start."""


class Entry(NamedTuple):
    """One job of the other store."""

    jobid: str
    schedule: str
    payload: str
    first: float | None = None
    """The next run in whole Unix seconds. A time that has passed: the job runs at once. None: no further run."""
    is_enabled: bool = True
    past: PastRuns | None = None

    @property
    def text(self) -> str:
        """The schedule as Redbike registers it."""
        return self.schedule if self.is_enabled else PAUSED + self.schedule


class Complaint(NamedTuple):
    """A note about an entry: the entry is left out, or it becomes something that a user may not expect."""

    name: str
    text: str
    is_left_out: bool = True
    """False if nothing is left out: the text is a hint."""


class _Outcome(Enum):
    SET = auto()
    STAYS = auto()
    DIFFERS = auto()  # it belongs to Redbike, and differs from the other store


@dataclass
class Counts:
    """What became of the entries."""

    imported: int = 0
    unchanged: int = 0
    left_out: int = 0


class Move:
    """One move of entries to one prefix."""

    def __init__(
        self,
        bike: Redbike,
        complain: Callable[[Complaint], object],
        show: Callable[[Entry], object] | None = None,
    ) -> None:
        """`complain` is called with each complaint. With `show`, change nothing: call it with each job to be set."""
        parts = bike._parts
        self._complain_to, self._show = complain, show
        self._now = bike.now()
        self._moved = Moved(bike.redis, parts.keys, parts.call)
        self._placing = parts.placing
        self._queue_key_of = parts.planner.checks().queue_key_of
        self.counts = Counts()

    def run(self, entries: Iterable[Entry | Complaint]) -> Counts:
        """Set the jobs that are new or differ, page by page.

        Afterwards each of them is on the timeline at its next run, or paused, or without a further run, and P:runs
        holds how often and when the other scheduler ran it. One entry that cannot be moved never stops the others.
        """
        rest = iter(entries)
        while page := list(islice(rest, _PAGE)):
            self._move({entry.jobid: entry for entry in self._sound(page)})
        return self.counts

    def _sound(self, page: Iterable[Entry | Complaint]) -> Iterator[Entry]:
        for entry in page:
            if isinstance(entry, Complaint):
                self._complain(entry)
            else:
                yield entry

    def _complain(self, complaint: Complaint) -> None:
        self.counts.left_out += complaint.is_left_out
        self._complain_to(complaint)

    def _move(self, entries: Mapping[str, Entry]) -> None:
        held = self._moved.held(list(entries))
        placements: list[Placement] = []
        moved: list[Entry] = []
        for jobid, entry in entries.items():
            outcome, text = _outcome(entry, held[jobid])
            try:
                placement = self._placement(entry, text)
            except (JobIdError, PayloadError, ValueError) as error:
                self._complain(Complaint(jobid, str(error)))
                continue
            moved.append(entry)
            if outcome is _Outcome.SET:
                placements.append(placement)
                self.counts.imported += 1
                if self._show:
                    self._show(entry._replace(schedule=text, is_enabled=True))
                continue
            self.counts.unchanged += 1
            if outcome is _Outcome.DIFFERS:
                self._complain(
                    Complaint(
                        jobid,
                        "Redbike has run or queued this job since it was set, so it stays as it is. The old store"
                        f" has {shown(entry.text)} or another call; to import the job again, unset it first",
                        is_left_out=False,
                    )
                )
        if self._show is None:
            # First the past runs: a job that runs as soon as it is placed goes on counting from there.
            self._moved.write_runs({one.jobid: one.past for one in moved if one.past is not None}, held)
            self._placing.place_all(placements)

    def _placement(self, entry: Entry, text: str) -> Placement:
        """Return how the job is placed. Raise JobIdError, PayloadError, or ValueError for a wrong schedule."""
        queue_key = self._queue_key_of(entry.jobid)
        check_payload(entry.jobid, entry.payload)
        plan = read(entry.schedule).first(self._now)
        if plan.action is Action.BAD:
            raise ValueError(plan.reason)
        if text.startswith(PAUSED):
            plan = read(text).first(self._now)
        elif entry.first is not None:
            # Also for a recurrence that is over: its last run may be overdue.
            plan = replace(plan, action=Action.AT, due_at=entry.first)
        return Placement(entry.jobid, queue_key, plan.registered, plan.action, plan.due_at, False, entry.payload)


def _outcome(entry: Entry, held: Held) -> tuple[_Outcome, str]:
    """Return what becomes of the job, and the schedule with which it is set."""
    if held.text is None:
        return _Outcome.SET, entry.text
    is_paused = held.text.startswith(PAUSED)
    is_same = entry.payload == held.payload and _is_same(entry.schedule, held.text.removeprefix(PAUSED))
    is_over = entry.first is None and entry.is_enabled
    if held.has_run or (held.next_run is None and not is_paused and not is_over):
        # It has run, it runs, or it waits in its queue.
        return _Outcome.STAYS if is_same else _Outcome.DIFFERS, entry.text
    if not is_same or (not is_paused and (held.next_run != entry.first or not entry.is_enabled)):
        # A job that somebody has paused stays paused.
        return _Outcome.SET, PAUSED + entry.schedule if is_paused else entry.text
    return _Outcome.STAYS, entry.text


def _is_same(schedule: str, registered: str) -> bool:
    """Return True for the same schedule, also if an interval starts at another time."""
    if schedule == registered:
        return True
    ours, theirs = _RHYTHM.fullmatch(schedule), _RHYTHM.fullmatch(registered)
    return ours is not None and theirs is not None and ours[1] == theirs[1]
