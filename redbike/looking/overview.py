"""One look at a whole prefix: the fleet, the queues, what runs now, what is due, what is held.

A look costs two round trips, whatever the number of jobs. The counts of jobs come from the rows (rows.py).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redbike.looking.asking import ask
from redbike.looking.processes import SILENT_S as SILENT_S
from redbike.looking.processes import Process as Process
from redbike.looking.processes import finite, read_processes
from redbike.looking.recent import FAULTS, HOUR_S, Lateness, Recent
from redbike.looking.rows import LATE_S, State, event_and_time, score_pairs
from redbike.store.keys import Event
from redbike.store.query import read_json
from redbike.store.requests import CLIENT_ID_LENGTH
from redbike.store.text import decode, encode

if TYPE_CHECKING:
    from redbike.bike import Redbike

_MOST_RUNNING = 200
_MOST_QUEUES = 1000
_NEXT = 20
_NOBODYS = "work-"  # the only queue of RoundRobin(""), which commands assume if the conf names no worker


@dataclass(frozen=True)
class Queue:
    """One queue. `oldest` is the job that waits longest, and `oldest_since` when it was queued, Unix seconds."""

    name: str
    jobs: int
    oldest: str | None
    oldest_since: float | None
    workers: int
    hold: dict[str, object] | None
    """Who holds the queue, since when and why; None if it is not held."""


@dataclass(frozen=True)
class Running:
    """A run in progress."""

    jobid: str
    queue: str
    worker: str
    """Host and pid; empty if the worker is not known."""
    since: float | None
    ends: float
    """When its lease ends, Unix seconds."""


@dataclass
class Overview:
    """What is known of a prefix at one moment. Times are in Unix seconds."""

    now: float
    prefix: str
    is_halted: bool
    halted_since: float | None
    hold: dict[str, object] | None
    """Who holds the whole prefix, since when and why; None if nobody does."""
    processes: list[Process]
    queues: list[Queue]
    running: list[Running]
    running_count: int
    overdue_runs: int
    """Runs in progress that have exceeded their timeouts."""
    timeline: int
    overdue: int
    """Jobs on the timeline whose time has passed more than a second ago."""
    overdue_since: float | None
    """The due time of the first overdue job."""
    next: list[tuple[str, float]]
    """The jobs that are due next, and their due times."""
    registered: int
    states: Counter[State] = field(default_factory=Counter)
    """The number of jobs in each state; empty if the jobs were not counted."""
    failing: int = 0
    lost: int = 0
    lateness: Lateness | None = None
    runs: int = 0
    """Runs of the last hour."""
    failures: int = 0
    """Runs of the last hour that did not succeed."""
    lateness_is_cut: bool = False

    def of_kind(self, kind: str) -> list[Process]:
        """Return the processes of this kind that are not silent: `dispatcher` or `worker`."""
        return [process for process in self.processes if process.kind == kind and not process.is_silent]

    def add_runs(self, recent: Recent) -> None:
        """Add how late the runs of the last hour began, and how many there were."""
        records = recent.of_last(HOUR_S, self.now)
        self.lateness = Lateness.of(records)
        self.runs = sum(record.outcome != "later" for record in records)
        self.failures = sum(record.outcome in FAULTS for record in records)
        self.lateness_is_cut = (
            recent.is_cut and len(records) > 0 and recent.of_last(math.inf, self.now)[0] is records[0]
        )

    def as_json(self) -> dict[str, object]:
        """Return the look as `--json` prints it."""
        lateness = self.lateness
        return {
            "now": self.now,
            "prefix": self.prefix,
            "halted": self.is_halted,
            "halted_since": self.halted_since,
            "paused": self.hold,
            "states": {state.value: self.states[state] for state in State if self.states[state]},
            "registered": self.registered,
            "failing": self.failing,
            "lost": self.lost,
            "timeline": self.timeline,
            "overdue": self.overdue,
            "overdue_since": self.overdue_since,
            "next": [{"job": jobid, "due": due} for jobid, due in self.next],
            "queues": [
                {
                    "name": queue.name,
                    "jobs": queue.jobs,
                    "oldest": queue.oldest,
                    "oldest_since": queue.oldest_since,
                    "workers": queue.workers,
                    "paused": queue.hold,
                }
                for queue in self.queues
            ],
            "running": [vars(run) for run in self.running],
            "running_count": self.running_count,
            "overdue_runs": self.overdue_runs,
            "processes": [{**vars(process), "queues": list(process.queues)} for process in self.processes],
            "last_hour": {
                "runs": self.runs,
                "failures": self.failures,
                "late_p50_s": None if lateness is None else lateness.p50_s,
                "late_p99_s": None if lateness is None else lateness.p99_s,
                "late_worst_s": None if lateness is None else lateness.worst_s,
            },
        }


def look(bike: "Redbike", queues: Iterable[str] = ()) -> Overview:
    """Return a look at the prefix, in two round trips. `queues`: names of further queues to show.

    The queues are those of the configured worker, those that workers serve, those that are held, and `queues`.
    """
    keys = bike._parts.keys
    now = bike.now()

    control, held, halted_at, alive, described, size, overdue, first, running, run_count, late_runs, registered = ask(
        bike,
        ("GET", keys.control),
        ("GET", keys.held),
        ("HGET", keys.metrics, "halted"),
        ("ZRANGE", keys.alive, 0, -1, "WITHSCORES"),
        ("HGETALL", keys.processes),
        ("ZCARD", keys.timeline),
        ("ZCOUNT", keys.timeline, "-inf", f"({now - LATE_S:.3f}"),
        ("ZRANGE", keys.timeline, 0, _NEXT - 1, "WITHSCORES"),
        ("ZRANGE", keys.running, 0, _MOST_RUNNING - 1, "WITHSCORES"),
        ("ZCARD", keys.running),
        ("ZCOUNT", keys.running, "-inf", f"({now:.3f}"),
        ("HLEN", keys.schedules),
    )
    holds = {name: entry for name, entry in read_json(held or b"{}").items() if isinstance(entry, dict)}
    processes = read_processes(score_pairs(alive), described or {}, now)
    served = Counter(name for process in processes if not process.is_silent for name in set(process.queues))
    names = _names(bike, processes, [*(name for name in holds if name), *queues])
    lists = [encode(keys.queue(name)) for name in names]
    tails = [command for key in lists for command in (("LLEN", key), ("LINDEX", key, -1))]
    entries = [entry.split(b"\n", 2) for entry, _ in score_pairs(running)]
    ends = [score for _, score in score_pairs(running)]
    ids = [words[2] for words in entries if len(words) == 3]
    replies = ask(bike, *tails, *([("HMGET", keys.statuses, *ids)] if ids else []))
    heads = [replies[number + 1] for number in range(0, len(tails), 2)]
    waiting = [head for head in heads if head is not None]
    planned = dict(zip(waiting, ask(bike, ("HMGET", keys.due, *waiting))[0] or [], strict=False)) if waiting else {}
    first_due = [(decode(jobid), score) for jobid, score in score_pairs(first) if math.isfinite(score)]
    is_halted = control == b"HALT"
    return Overview(
        now=now,
        prefix=bike.prefix,
        is_halted=is_halted,
        halted_since=finite(halted_at) if is_halted else None,
        hold=holds.get(""),
        processes=processes,
        queues=[
            Queue(
                name=name,
                jobs=replies[2 * number] or 0,
                oldest=None if heads[number] is None else decode(heads[number]),
                oldest_since=_queued_at(planned.get(heads[number])),
                workers=served[name],
                hold=holds.get(name),
            )
            for number, name in enumerate(names)
        ],
        running=_running(entries, ends, replies[-1] if ids else [], processes, keys.queue_name),
        running_count=run_count or 0,
        overdue_runs=late_runs or 0,
        timeline=size or 0,
        overdue=overdue or 0,
        overdue_since=first_due[0][1] if overdue and first_due else None,
        next=first_due,
        registered=registered or 0,
    )


def _names(bike: "Redbike", processes: Sequence[Process], further: Iterable[str]) -> list[str]:
    own = [bike._parts.keys.queue_name(key) for key in bike.queue_names()]
    if own == [_NOBODYS]:
        own = []
    served = [name for process in processes for name in process.queues]
    # If there are too many, the queues that are served or held stay.
    return sorted(list(dict.fromkeys([*own, *served, *further]))[:_MOST_QUEUES])


def _queued_at(planned: bytes | None) -> float | None:
    """Return when a job was queued, from its entry of P:due: due time, attempt, second."""
    words = (planned or b"").split()
    return float(words[2]) if len(words) == 3 and words[2].isdigit() and len(words[2]) < 16 else None


def _running(entries: Any, ends: Any, statuses: Any, processes: Sequence[Process], name_of: Any) -> list[Running]:
    by_id = {process.client_id: process.name for process in processes}
    found = []
    known = iter(statuses or ())
    for words, end in zip(entries, ends, strict=True):
        if len(words) != 3:
            continue  # of another program
        event, since = event_and_time(next(known, None))
        worker = by_id.get(decode(words[0])[:CLIENT_ID_LENGTH], "")
        began = float(since) if event == Event.WORKING and since is not None else None
        if finite(end) is None:
            continue
        found.append(Running(decode(words[2]), name_of(decode(words[1])), worker, began, end))
    return found
