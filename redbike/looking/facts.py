"""All that is known of one job now, read in a few round trips, for the answers to "why?"."""

import difflib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from redbike.engine.policy import Policy
from redbike.looking.asking import ask
from redbike.looking.calls import Calls
from redbike.looking.overview import Overview, Process, look
from redbike.looking.rows import Row, Rows, State
from redbike.schedule.forms import PAUSED
from redbike.store.history import Record
from redbike.store.requests import CLIENT_ID_LENGTH
from redbike.store.text import decode, encode

if TYPE_CHECKING:
    from redbike.bike import Redbike

_MOST_RECORDS = 200_000
_MOST_RUNS = 1000
_MOST_IDS = 20_000  # that are read for a suggestion
_MOST_COMPARED = 2_000
_LONGEST_COMPARED = 200  # characters
_SUGGESTED = 3


@dataclass(frozen=True)
class Planned:
    """The entry of P:due: for which time the present run was planned."""

    due: float
    attempt: int
    again_at: float | None
    """When a postponed run begins again; None for a run that is queued or in progress."""


@dataclass(frozen=True)
class Facts:
    """One job, and the fleet around it."""

    jobid: str
    row: Row | None
    """None for a job that is not registered."""
    overview: Overview
    policy: Policy
    pause: dict[str, object] | None
    position: int | None
    """How many jobs are before it in its queue; None if it is not there, or further back than the first thousand."""
    depth: int
    """The number of jobs in its queue."""
    planned: Planned | None
    holder: str | None
    """The client id of the worker that has its lease; None if it does not run."""
    lease_ends: float | None
    id_fault: str | None
    """Why no queue can take this job id."""

    @property
    def schedule(self) -> str | None:
        """The schedule without the word of a pause."""
        text = None if self.row is None else self.row.schedule
        return text if text is None else text.strip().removeprefix(PAUSED)

    @property
    def queue(self) -> str:
        """The name of the queue of the job."""
        return "" if self.row is None else self.row.queue

    @property
    def holder_process(self) -> Process | None:
        """The process that runs the job, if it is known."""
        found = [one for one in self.overview.processes if one.client_id == self.holder]
        return found[0] if found else None

    @classmethod
    def read(cls, bike: "Redbike", jobid: str, overview: Overview | None = None) -> "Facts":
        """Read all that is known of a job. `overview`: the overview, if it was read just now."""
        parts, keys = bike._parts, bike._parts.keys
        queue_key = parts.queue_for_any(jobid)
        rows = list(Calls(bike).fill(Rows(bike).of([jobid])))
        details = bike.details(jobid)
        field, tag = encode(jobid), encode(keys.tag(queue_key, jobid))
        planned, holder, left_ms, depth = ask(
            bike, ("HGET", keys.due, field), ("GET", tag), ("PTTL", tag), ("LLEN", encode(queue_key))
        )
        overview = overview or look(bike, [keys.queue_name(queue_key)])
        pause, position = details["pause"], details["position"]
        row = rows[0] if rows else None
        if row is not None and holder is not None and row.state is not State.RUNNING:
            row = row._replace(state=State.RUNNING, since=None)  # it was set during its run
        return cls(
            jobid=jobid,
            row=row,
            overview=overview,
            policy=parts._policy,
            pause=pause if isinstance(pause, dict) else None,
            position=position if isinstance(position, int) else None,
            depth=depth or 0,
            planned=_planned(planned),
            holder=None if holder is None else decode(holder)[:CLIENT_ID_LENGTH],
            lease_ends=overview.now + left_ms / 1000 if left_ms is not None and left_ms > 0 else None,
            id_fault=_id_fault(bike, jobid) if row is not None else None,
        )


@dataclass(frozen=True)
class Past:
    """The past runs of one job, from the history."""

    records: list[Record]
    """The latest run first: a thousand at most."""
    reaches_to: float | None
    """When the oldest run that was read has ended, of any job; None without any record."""

    @classmethod
    def read(cls, bike: "Redbike", jobid: str) -> "Past":
        """Read the past runs of a job, among the latest 200,000 runs of all jobs."""
        records: list[Record] = []
        oldest = None
        for record in islice(bike.get_history(), _MOST_RECORDS):
            oldest = record
            if record.jobid == jobid:
                records.append(record)
                if len(records) == _MOST_RUNS:
                    break
        return cls(records, None if oldest is None else oldest.ended)


def near_ids(bike: "Redbike", jobid: str) -> list[str]:
    """Return registered job ids that may have been meant, among the first 20,000."""
    ids = [one for one, _ in islice(bike.get_schedules(), _MOST_IDS) if len(one) <= _LONGEST_COMPARED]
    word = jobid[:_LONGEST_COMPARED]
    likely = sorted(ids, key=lambda one: (word.lower() not in one.lower(), abs(len(one) - len(word))))
    parts = [one for one in likely[:_SUGGESTED] if len(word) > 1 and word.lower() in one.lower()]
    return parts or difflib.get_close_matches(word, likely[:_MOST_COMPARED], n=_SUGGESTED)


def _planned(entry: bytes | None) -> Planned | None:
    words = decode(entry or b"").split()
    try:
        due, attempt, mark = words
        return Planned(float(due), int(attempt), float(mark[1:]) if mark.startswith("k") else None)
    except ValueError:
        return None


def _id_fault(bike: "Redbike", jobid: str) -> str | None:
    try:
        bike._parts.guard.queue_key_for(jobid)
    except Exception as error:  # queue_for() is the user's code
        return str(error) or type(error).__name__
    return None
