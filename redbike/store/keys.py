"""The map of the state in Redis: every key, what it holds, in which unit, and when it is removed.

No other file spells a key. `P` is the prefix. `Q` is the name of a queue, which the worker's `queue_for` returns. The
lease of a running job is the key `P-Q-JOBID`, the run tag: see `Keys.tag`.
"""

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from redbike.errors import WorkerError
from redbike.store.requests import CLIENT_ID_LENGTH
from redbike.store.text import encode
from redbike.worker import Worker


class Event(StrEnum):
    """The last event of a job. It is the first half of the job's status."""

    TIMELINE = "TML"  # entered into the timeline
    QUEUED = "ENQ"  # entered into a queue
    BAD = "BAD"  # could not be scheduled
    WORKING = "WRK"  # picked up by a worker
    STOPPED = "STP"  # stopped
    DIED = "DIE"  # the worker raised an unexpected exception


class KeyDoc(NamedTuple):
    """One row of the state's description. docs/state.md shows the same rows."""

    key: str
    type: str
    content: str
    removed: str


STATE = (
    KeyDoc("P-schedules", "hash", "job id → schedule text", "`unset`"),
    KeyDoc("P-statuses", "hash", "job id → `EVENT:TIMESTAMP`, whole Unix seconds", "`unset`"),
    KeyDoc("P-timeline", "sorted set", "job id, scored by the Unix time of its next run", "when the job is queued"),
    KeyDoc(
        "P-control",
        "string",
        "`HALT`, or absent",
        "`dispatch` and `work` of the command line, as they start; `clear_control()`",
    ),
    KeyDoc("P-Q", "list", "a queue: jobs enter on the left and leave on the right", "when it is empty"),
    KeyDoc("P-Q-members", "set", "the job ids that are in that list now", "when it is empty"),
    KeyDoc(
        "P-Q-JOBID", "string", "the run tag: a random value, there while the job runs", "end of the run, or its timeout"
    ),
)

ADDED_STATE = (
    KeyDoc("P:bell:Q", "list", "at most one token: there may be work in the queue", "when an idle worker takes it"),
    KeyDoc(
        "P:watch:Q",
        "string",
        "a dispatcher wakes the workers of this queue for jobs that other programs put there",
        "after 45 s, or when the dispatcher stops",
    ),
    KeyDoc("P:idle", "set", "workers that found nothing to do lately", "after 45 s, or when a dispatcher counts them"),
    KeyDoc(
        "P:running",
        "sorted set",
        "a run's tag, queue and job id, scored by the Unix time at which it times out",
        "end of the run",
    ),
    KeyDoc("P:retries", "hash", "job id → how often it was tried again", "the job succeeds, or is set"),
    KeyDoc(
        "P:extra",
        "sorted set",
        "job id, scored by the Unix time of a run beside the later one that the timeline has",
        "when the job is queued",
    ),
    KeyDoc(
        "P:holes",
        "hash",
        "queue and job id, a line each → how many entries of the unset job are still in that list, to be skipped",
        "when a worker comes to the entry",
    ),
    KeyDoc(
        "P:payloads",
        "hash",
        "job id → the payload of its runs; a payload for the next run alone has a line break before the job id",
        "`unset`; the run ends",
    ),
    KeyDoc(
        "P:due",
        "hash",
        "job id → the Unix time for which its present run was planned, the attempt, and the second at which it was"
        " queued (or `k` and the time of the next attempt)",
        "end of the run, unless it is tried again",
    ),
    KeyDoc(
        "P:runs",
        "hash",
        "job id → its last run: number of runs, outcome, begin, end (Unix seconds), failures in a row, error",
        "`unset`",
    ),
    KeyDoc("P:history", "stream", "one record per run, the latest `history` of them", "when newer records come"),
    KeyDoc("P:pauses", "hash", "job id → who paused it, since when and why, as JSON", "`resume`, `set`, `unset`"),
    KeyDoc("P:resume", "sorted set", "paused job, scored by the Unix time at which it resumes", "when it resumes"),
    KeyDoc(
        "P:held",
        "string",
        'a JSON object: the queues that are held (`""`: all of the prefix), and who holds them, since when and why',
        "when the last queue is released",
    ),
    KeyDoc(
        "P:metrics",
        "hash",
        "counters of runs by queue, and the lateness of their begins; when `HALT` was sent last",
        "never",
    ),
    KeyDoc("P:alive", "sorted set", "process, scored by the Unix time of its last heartbeat", "when the process ends"),
    KeyDoc(
        "P:processes",
        "hash",
        "process → what it is, as JSON: kind, host, pid, since when, version, queues, counts",
        "when the process ends",
    ),
    KeyDoc(
        "P:loaded",
        "hash",
        "job id → the name of the load that set it, and in another line a digest of its row in the file",
        "`load --sync` of a file without the job",
    ),
    KeyDoc(
        "P:memo:CLIENT",
        "string",
        "what a thread of a process did last, in case the reply is lost",
        "when its loop ends; a day after the last run, a few minutes after the last `set`",
    ),
)
"""Keys that Redbike 0.13.1 does not know. Each may be missing at any time."""

MEMBERS = "-members"
"""The end of the key of a queue's members."""

_ENCODED_MEMBERS = MEMBERS.encode()
_MOST_REMEMBERED = 1024  # queues

WAKE_CHANNEL = "P-wake"
"""A message on this channel means that a job is due earlier than a sleeping dispatcher expects."""

_RESERVED_QUEUES = frozenset({"schedules", "statuses", "timeline", "control"})


class Keys:
    """The keys of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.schedules = f"{prefix}-schedules"
        self.statuses = f"{prefix}-statuses"
        self.timeline = f"{prefix}-timeline"
        self.control = f"{prefix}-control"
        self._encoded_prefix = encode(prefix)
        self.triple = lru_cache(_MOST_REMEMBERED)(self._triple)
        """Return the keys of a queue as scripts get them: list, members, bell."""
        self.wake = f"{prefix}-wake"
        self.running = f"{prefix}:running"
        self.retries = f"{prefix}:retries"
        self.extra = f"{prefix}:extra"
        self.holes = f"{prefix}:holes"
        self.payloads = f"{prefix}:payloads"
        self.due = f"{prefix}:due"
        self.runs = f"{prefix}:runs"
        self.history = f"{prefix}:history"
        self.pauses = f"{prefix}:pauses"
        self.resume = f"{prefix}:resume"
        self.held = f"{prefix}:held"
        self.metrics = f"{prefix}:metrics"
        self.alive = f"{prefix}:alive"
        self.processes = f"{prefix}:processes"
        self.loaded = f"{prefix}:loaded"

    def common(self) -> tuple[str, ...]:
        """Return the keys that every script gets first, in the order in which lua/_keys.lua names them."""
        own = (self.schedules, self.statuses, self.timeline, self.control)
        added = (self.retries, self.running, self.extra, self.holes, self.payloads, self.due, self.runs, self.history)
        return (*own, *added, self.pauses, self.resume, self.held, self.metrics)

    def encoded_common(self) -> list[bytes]:
        """Return the same keys as bytes, for scripts."""
        return [self._encoded_prefix + key[len(self.prefix) :].encode() for key in self.common()]

    def _triple(self, queue_key: str) -> tuple[bytes, bytes, bytes]:
        """Return the keys of a queue as bytes, for scripts: list, members, bell."""
        queue, prefix = encode(queue_key), self._encoded_prefix
        return queue, queue + _ENCODED_MEMBERS, prefix + b":bell:" + queue.removeprefix(prefix + b"-")

    def queue(self, name: str) -> str:
        """Return the list of the queue that the worker calls `name`."""
        return f"{self.prefix}-{name}"

    def queue_name(self, queue_key: str) -> str:
        """Return the name of a queue from the key of its list."""
        return queue_key[len(self.prefix) + 1 :]

    def members(self, queue_key: str) -> str:
        """Return the set of the job ids in a list."""
        return queue_key + MEMBERS

    def bell(self, queue_key: str) -> str:
        """Return the bell of a list, on which idle workers wait."""
        return f"{self.prefix}:bell:{queue_key.removeprefix(self.prefix + '-')}"

    def watch(self, queue_key: str) -> str:
        """Return the sign that a dispatcher monitors a list."""
        return f"{self.prefix}:watch:{queue_key.removeprefix(self.prefix + '-')}"

    @property
    def idle(self) -> str:
        """The set of the workers that were idle recently."""
        return f"{self.prefix}:idle"

    def tag(self, queue_key: str, jobid: str) -> str:
        """Return the key of the run tag, the lease of a job that a worker has taken from this list."""
        return f"{queue_key}-{jobid}"

    def memo(self, request_id: str) -> bytes:
        """Return the memo of the client that made a request id. The memo says what the client's last call did."""
        return self._encoded_prefix + b":memo:" + request_id[:CLIENT_ID_LENGTH].encode()

    def memo_pattern(self) -> str:
        """Return a glob that matches the memos of all clients."""
        escaped = "".join(f"\\{char}" if char in r"*?[]^-\\" else char for char in self.prefix)
        return f"{escaped}:memo:*"

    def queue_of(self, jobid: str, worker: Worker) -> str:
        """Return the key of the queue that the worker names for a job. Raise WorkerError for a name that cannot be."""
        name = worker.queue_for(jobid)
        fault = self.queue_fault(name)
        if fault is not None:
            raise WorkerError(f"worker {type(worker).__name__}: queue_for({jobid!r}): {fault}")
        return self.queue(name)

    def queue_fault(self, name: object) -> str | None:
        """Return why this cannot be a queue's name, or None."""
        if not isinstance(name, str) or not name:
            return f"{name!r} is not a queue name: a non-empty string is needed"
        if "\n" in name:
            return f"queue name {name!r} has a line break"
        if name in _RESERVED_QUEUES:
            return f"queue name {name!r} is taken by the key {self.queue(name)!r} of Redbike itself"
        return None
