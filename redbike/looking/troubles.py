"""All that is wrong with a prefix, the most urgent first: from an overview and the rows of its jobs. Pure.

At most twenty troubles of a kind are named. The memory for the rows does not grow with their number.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

from redbike.looking import sentences
from redbike.looking.overview import Overview
from redbike.looking.rows import Row, State
from redbike.looking.sentences import named, sentence
from redbike.looking.words import length, plural
from redbike.schedule.forms import read

MOST_NAMED = 20
"""The most troubles of a kind that are named."""
WAITS_S = 600.0
"""A job that waits for longer in its queue is a trouble."""
_MOST_QUEUES = 1000
_KINDS = (
    *("halt", "held", "no dispatcher", "silent", "no worker", "held queue", "overdue", "past its lease"),
    *("lost", "bad", "failing", "waits"),
)
"""From the most urgent to the least."""
_LOOK = {
    "silent": "redbike info",
    "no worker": "redbike info --by-queue",
    "held queue": "redbike info --by-queue",
    "past its lease": "redbike info -s running",
    "lost": "redbike info -s lost",
    "bad": "redbike info -s bad",
    "failing": "redbike info -s failing",
    "waits": "redbike info -s queued",
}


class Trouble(NamedTuple):
    """Something that is wrong. `urgency`: 0 is the most urgent kind."""

    urgency: int
    kind: str
    text: str
    jobid: str | None = None
    queue: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the trouble as `--json` prints it."""
        return {"kind": self.kind, "text": self.text, "job": self.jobid, "queue": self.queue}


class Jobs:
    """Figures for the troubles, from the rows: counts, and the worst jobs of each kind."""

    def __init__(self) -> None:
        self.count = 0
        self.states: Counter[State] = Counter()
        self.lost = 0
        """Jobs that should run again, but are in no place, as `redbike lost` prints them: the BAD jobs, too."""
        self.failing = 0
        """Jobs whose last run has failed."""
        self.queued: Counter[str] = Counter()
        """The number of waiting jobs by queue, of a thousand queues at most."""
        self.worst: dict[str, list[tuple[float, str, Row]]] = {"lost": [], "bad": [], "failing": []}
        self.numbers: Counter[str] = Counter()

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """Return the figures of these rows."""
        jobs = cls()
        for row in rows:
            jobs.add(row)
        return jobs

    def add(self, row: Row) -> None:
        """Count a row, and keep it if it is among the worst of its kind."""
        state = row.state
        self.count += 1
        self.states[state] += 1
        self.lost += row.is_lost
        self.failing += row.failures > 0
        if state is State.QUEUED and (row.queue in self.queued or len(self.queued) < _MOST_QUEUES):
            self.queued[row.queue] += 1
        if state is State.BAD:
            self._keep("bad", row.since or 0, row)
        elif row.is_lost or state in (State.LOST, State.TIMED_OUT):
            self._keep("lost", row.since or 0, row)
        elif state is State.FAILED or (row.failures and state is not State.PAUSED):
            self._keep("failing", row.failures, row)

    def _keep(self, kind: str, weight: float, row: Row) -> None:
        self.numbers[kind] += 1
        entry, worst = (weight, row.jobid, row), self.worst[kind]
        if len(worst) < MOST_NAMED:
            heapq.heappush(worst, entry)
        elif entry[:2] > worst[0][:2]:
            heapq.heapreplace(worst, entry)

    def of_kind(self, kind: str) -> list[Row]:
        """Return the worst rows of a kind: the latest lost and BAD jobs, the jobs with the most failures in a row."""
        return [row for _, _, row in sorted(self.worst[kind], key=lambda entry: (-entry[0], entry[1]))]


def troubles(overview: Overview, rows: Iterable[Row] | Jobs = (), waits_s: float = WAITS_S) -> list[Trouble]:
    """Return all that is wrong, the most urgent first: at most 20 of a kind, then the number of the others.

    `rows`: all jobs, or their figures from `Jobs.of`. `waits_s`: how long a job may wait in its queue.
    """
    jobs = rows if isinstance(rows, Jobs) else Jobs.of(rows)
    found = [*_of_fleet(overview), *_of_queues(overview, jobs, waits_s), *_of_jobs(jobs, overview.now)]
    numbers = Counter(trouble.kind for trouble in found) | jobs.numbers
    numbers["past its lease"] = max(numbers["past its lease"], overview.overdue_runs)
    shown: list[Trouble] = []
    for urgency, kind in enumerate(_KINDS):
        some = [trouble for trouble in found if trouble.kind == kind][:MOST_NAMED]
        shown += some
        if more := numbers[kind] - len(some):
            shown.append(Trouble(urgency, kind, f"and {more:,} more: {_LOOK[kind]}"))
    return shown


def troubles_as_json(overview: Overview, found: Sequence[Trouble]) -> dict[str, object]:
    """Return the troubles as `redbike why --json` prints them."""
    return {"now": overview.now, "wrong": bool(found), "troubles": [trouble.as_json() for trouble in found]}


def fine(overview: Overview, jobs: Jobs) -> str:
    """Return the sentence for a prefix without troubles, with the counts."""
    states = ", ".join(f"{jobs.states[state]:,} {state}" for state in State if jobs.states[state])
    processes = [plural(len(overview.of_kind(kind)), kind) for kind in ("dispatcher", "worker")]
    return f"Nothing is wrong: {plural(jobs.count, 'job')}{f' ({states})' if states else ''}, {', '.join(processes)}."


def _trouble(kind: str, text: str, jobid: str | None = None, queue: str | None = None) -> Trouble:
    return Trouble(_KINDS.index(kind), kind, sentence(text), jobid, queue)


def _of_fleet(overview: Overview) -> Iterator[Trouble]:
    now = overview.now
    if text := sentences.halt(overview):
        yield _trouble("halt", text)
    if text := sentences.hold(overview):
        yield _trouble("held", text)
    if text := sentences.no_dispatcher(overview):
        yield _trouble("no dispatcher", text)
    for process in overview.processes:
        if process.is_silent:
            yield _trouble("silent", sentences.silent(process, now))
    if overview.overdue and overview.overdue_since is not None:
        jobid = overview.next[0][0]
        how_many = f"{plural(overview.overdue, 'job')} {'is' if overview.overdue == 1 else 'are'} due, but not queued"
        when = sentences.since(overview.overdue_since, now)
        yield _trouble("overdue", f"{how_many}; {named(jobid)} has been due {when}")
    for run in overview.running:
        if run.ends < now:
            where = (
                f"worker {run.worker} has been running it" if run.worker else "an unknown worker has been running it"
            )
            began = "" if run.since is None else f" {sentences.since(run.since, now)}"
            ended = f"its lease ended {sentences.at(run.ends, now)}"
            yield _trouble("past its lease", f"job {named(run.jobid)}: {where}{began}, and {ended}", run.jobid)


def _of_queues(overview: Overview, jobs: Jobs, waits_s: float) -> Iterator[Trouble]:
    now = overview.now
    known = {queue.name: queue for queue in overview.queues}
    for name in sorted({*known, *jobs.queued}):
        queue = known.get(name)
        number = queue.jobs if queue is not None else jobs.queued[name]
        if not number:
            continue
        wait = sentences.jobs_wait(number)
        oldest_since = None if queue is None else queue.oldest_since
        waited_s = 0.0 if oldest_since is None else now - oldest_since
        if text := sentences.no_worker(overview, name):
            first = f", the first for {length(waited_s)}" if waited_s else ""
            yield _trouble("no worker", f"queue {name}: {wait}{first}, and {text}", queue=name)
        if queue is not None and queue.hold is not None:
            yield _trouble(
                "held queue", f"queue {name}: {wait}, and it is held{sentences.by(queue.hold, now)}", queue=name
            )
        elif queue is not None and waited_s > waits_s:
            yield _trouble(
                "waits",
                f"queue {name}: {wait}, and {named(queue.oldest or '')} has waited for {length(waited_s)}",
                queue=name,
            )


def _of_jobs(jobs: Jobs, now: float) -> Iterator[Trouble]:
    for row in jobs.of_kind("lost"):
        yield _trouble("lost", f"job {named(row.jobid)} {lost_because(row, now)}", row.jobid)
    for row in jobs.of_kind("bad"):
        yield _trouble("bad", f"job {named(row.jobid)} {bad_because(row, now)}", row.jobid)
    for row in jobs.of_kind("failing"):
        yield _trouble("failing", f"job {named(row.jobid)} {failing_because(row, now)}", row.jobid)


def lost_because(row: Row, now: float) -> str:
    """Return what happened to a lost job, without its name."""
    when = "" if row.since is None else f" {sentences.at(row.since, now)}"
    remedy = "redbike lost --reset plans it again" if row.is_lost else "redbike enqueue runs it again"
    if row.state is State.FAILED:
        return f"failed{when}{_error(row)}, and does not run again (on-error: drop): {remedy}"
    if row.state is State.TIMED_OUT:
        why = f" ({row.last['error']})" if row.last is not None and row.last["outcome"] == "lost" else ""
        return f"began to run{when}, and its run is lost{why}: {remedy}"
    if row.state is State.NEW:
        return "is registered, but nobody has planned it: redbike lost --reset plans it"
    last = "" if row.since is None else f"; its last event was {sentences.at(row.since, now)}"
    return f"is neither planned, queued nor running{last}: {remedy}"


def bad_because(row: Row, now: float) -> str:
    """Return why a job is BAD, without its name."""
    reason = None if row.schedule is None else read(row.schedule).again(now).reason
    if row.last is not None and row.last["outcome"] == "bad":
        reason = str(row.last["error"]) or reason
    when = "" if row.since is None else f" {sentences.since(row.since, now)}"
    return f"has been BAD{when}: {reason or 'no queue can take it, or it was already BAD when it was set'}"


def failing_because(row: Row, now: float) -> str:
    """Return how often a job has failed, its error, and when it runs again; without its name."""
    last, often = row.last, row.failures
    if last is None or not often:
        return "failed" + ("" if row.since is None else f" {sentences.at(row.since, now)}")
    failed = "failed" if often == 1 else f"has failed {often:,} times in a row, the last time"
    words = f"{failed} {sentences.at(float(str(last['ended'])), now)}{_error(row)}"
    if row.next_run is None:
        return f"{words}; {'it waits in its queue' if row.state is State.QUEUED else 'no further run is planned'}"
    return f"{words}; it runs again {_then(row.next_run, now)}"


def _then(stamp: float, now: float) -> str:
    return "now" if stamp <= now + 1 else f"in {length(stamp - now)}"


def _error(row: Row) -> str:
    last = row.last
    return f" with {last['error']}" if last is not None and last["error"] and row.failures else ""
