"""What really happened: the runs that the notary recorded, and how many were lost and doubled.

Knows nothing of Redbike's state.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import redis


@dataclass
class Run:
    """One run of a job."""

    jobid: str
    began_at: float  # the notary's time, Unix seconds
    pid: int
    ended_at: float | None = None


class History:
    """The records of one round, read while they grow."""

    def __init__(self, notary: redis.Redis, key: str) -> None:
        self.runs: dict[str, list[Run]] = defaultdict(list)
        self.latest_of: dict[int, Run] = {}
        self.odd: list[str] = []
        """Jobs of runs that had the payload of another job, or began before they were due."""
        self._notary: Any = notary
        self._key, self._read = key, 0

    def refresh(self) -> None:
        """Read the new records."""
        while notes := self._notary.lrange(self._key, self._read, self._read + 9_999):
            self._read += len(notes)
            for note in notes:
                self._take(*note.decode().split(" "))

    def _take(self, what: str, jobid: str, stamp: str, pid: str) -> None:
        if what == "odd":
            self.odd.append(jobid)
        elif what == "begin":
            run = Run(jobid, float(stamp), int(pid))
            self.runs[jobid].append(run)
            self.latest_of[run.pid] = run
        else:
            self.latest_of[int(pid)].ended_at = float(stamp)

    def count(self) -> int:
        return sum(map(len, self.runs.values()))

    def lateness_s(self, due: Mapping[str, float]) -> list[float]:
        """Return how long after its due time the first run of each of these jobs began, in seconds."""
        return [self.runs[jobid][0].began_at - at for jobid, at in due.items() if self.runs[jobid]]


@dataclass
class Verdict:
    """The result of one round, or of several."""

    fault: str
    faults: int = 0
    occurrences: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stalled: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    lateness_s: list[float] = field(default_factory=list)
    took_s: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    """Where replies were lost: how many, by the kind of the command."""
    spared: list[str] = field(default_factory=list)
    """Lost and doubled jobs that the server itself may have lost: they do not count."""
    left_out: str = ""
    """Why the round was not played; empty where it was."""

    @property
    def is_sound(self) -> bool:
        return not (self.lost or self.doubled or self.stalled or self.complaints)

    def add(self, other: "Verdict") -> None:
        """Add the result of another round."""
        self.faults += other.faults
        self.occurrences += other.occurrences
        self.took_s += other.took_s
        self.kinds = dict(Counter(self.kinds) + Counter(other.kinds))
        self.left_out = self.left_out or other.left_out
        for name in ("lost", "doubled", "stalled", "complaints", "lateness_s", "spared"):
            getattr(self, name).extend(getattr(other, name))

    def lateness_ms(self, share: float) -> float:
        """Return the lateness that this share of the jobs does not exceed; nan if nothing was measured."""
        if not self.lateness_s:
            return math.nan
        ordered = sorted(self.lateness_s)
        return 1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def touched(history: History, jobid: str, since: float, until: float) -> bool:
    """Return True if a run of the job began or ended within this time, in Unix seconds."""
    runs = history.runs.get(jobid, [])
    return any(at is not None and since <= at <= until for run in runs for at in (run.began_at, run.ended_at))


def lost_and_doubled(
    history: History, once: Iterable[str], killed: Set[int], *, dropped_is_lost: bool = True
) -> tuple[list[str], list[str]]:
    """Return the jobs that should run once and did not, and those that ran more often.

    A run of a killed process may be repeated, and then does not count as doubled. With `dropped_is_lost` it must be
    repeated, unless it had ended.
    """
    in_hand = {id(run) for pid, run in history.latest_of.items() if pid in killed}
    lost, doubled = [], []
    for jobid in once:
        runs = history.runs.get(jobid, [])
        spared = [run for run in runs if id(run) not in in_hand]
        if not runs or (dropped_is_lost and all(run.ended_at is None for run in runs)):
            lost.append(jobid)
        elif len(spared) > 1:
            doubled.append(jobid)
    return lost, doubled


def doubled_seconds(history: History, jobids: Iterable[str]) -> list[str]:
    """Return the runs of jobs due once a second that began in the same second as another run."""
    found = []
    for jobid in jobids:
        seconds = [int(run.began_at) for run in history.runs.get(jobid, [])]
        found += [f"{jobid} at {second}" for second in set(seconds) if seconds.count(second) > 1]
    return found


def missing_seconds(history: History, jobids: Iterable[str]) -> list[str]:
    """Return the seconds between the first and last run of such jobs in which no run began."""
    found = []
    for jobid in jobids:
        seconds = {int(run.began_at) for run in history.runs.get(jobid, [])}
        if seconds:
            found += [f"{jobid} at {second}" for second in range(min(seconds), max(seconds)) if second not in seconds]
    return found
