"""The map of the state in Redis: every key, what it holds, in which unit, who writes it and when it goes.

No key is spelled anywhere else. `P` is the prefix, `Q` the name of a queue as the worker's `queue_for` gives it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

MAX_JOBID_BYTES = 4096


class Event(StrEnum):
    """What happened to a job last; the first half of its status."""

    TIMELINE = "TML"  # entered into the timeline
    QUEUED = "ENQ"  # entered into a queue
    BAD = "BAD"  # could not be scheduled
    WORKING = "WRK"  # picked up by a worker
    STOPPED = "STP"  # stopped
    DIED = "DIE"  # the worker raised an unexpected exception


class KeyDoc(NamedTuple):
    """One row of the state's description; the README shows the same rows."""

    key: str
    type: str
    content: str
    goes: str


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
        "a dispatcher wakes the workers of this queue for jobs that others put there",
        "after 45 s, or when the dispatcher stops",
    ),
    KeyDoc("P:idle", "set", "workers that found nothing to do lately", "after 45 s, or when a dispatcher counts them"),
    KeyDoc(
        "P:running",
        "sorted set",
        "a run's tag, queue and job id, scored by the Unix time at which it times out; only where `on-timeout` is set",
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
        "P:memo:CALLER",
        "string",
        "what a thread of a process did last, for when the reply is lost",
        "when its loop ends; a day after the last run, a few minutes after the last `set`",
    ),
)
"""Keys that Redbike 0.13.1 does not know. Each may be missing at any time."""

WAKE_CHANNEL = "P-wake"
"""Published to when a job becomes due earlier than a sleeping dispatcher expects."""

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_RESERVED_QUEUES = frozenset({"schedules", "statuses", "timeline", "control"})


class Keys:
    """The keys of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.schedules = f"{prefix}-schedules"
        self.statuses = f"{prefix}-statuses"
        self.timeline = f"{prefix}-timeline"
        self.control = f"{prefix}-control"
        self.wake = f"{prefix}-wake"
        self.running = f"{prefix}:running"
        self.retries = f"{prefix}:retries"
        self.extra = f"{prefix}:extra"
        self.holes = f"{prefix}:holes"
        self._latest: tuple[tuple[str, ...], frozenset[str], frozenset[str]] = (), frozenset(), frozenset()

    def common(self) -> tuple[str, ...]:
        """The keys that every script gets first, in the order in which lua/_common.lua names them."""
        own = (self.schedules, self.statuses, self.timeline, self.control)
        return (*own, self.retries, self.running, self.extra, self.holes)

    def queue(self, name: str) -> str:
        """The list of the queue that the worker calls `name`."""
        return f"{self.prefix}-{name}"

    def members(self, queue_key: str) -> str:
        """The set of the job ids in that list."""
        return f"{queue_key}-members"

    def bell(self, queue_key: str) -> str:
        """The bell of that list, on which idle workers wait."""
        return f"{self.prefix}:bell:{queue_key.removeprefix(self.prefix + '-')}"

    def watch(self, queue_key: str) -> str:
        """The sign that a dispatcher watches that list."""
        return f"{self.prefix}:watch:{queue_key.removeprefix(self.prefix + '-')}"

    @property
    def idle(self) -> str:
        """The set of the workers that were idle lately."""
        return f"{self.prefix}:idle"

    def tag(self, queue_key: str, jobid: str) -> str:
        """The run tag of a job that was taken from that list."""
        return f"{queue_key}-{jobid}"

    def memo(self, caller: str) -> str:
        """What a caller notes in Redis of its last call."""
        return f"{self.prefix}:memo:{caller}"

    def memo_pattern(self) -> str:
        """A glob that matches the memos of all callers."""
        escaped = "".join(f"\\{char}" if char in r"*?[]^-\\" else char for char in self.prefix)
        return f"{escaped}:memo:*"

    def queue_fault(self, name: object) -> str | None:
        """Why this cannot be a queue's name, or None."""
        if not isinstance(name, str) or not name:
            return f"{name!r} is not a queue name: a non-empty string is needed"
        if "\n" in name:
            return f"queue name {name!r} has a line break"
        if name in _RESERVED_QUEUES:
            return f"queue name {name!r} is taken by the key {self.queue(name)!r} of Redbike itself"
        return None

    def collision(
        self, jobid: str, queue_key: str, queue_for: Callable[[str], str], names: Iterable[str]
    ) -> str | None:
        """The key that this job would share with another use, or None.

        A run tag `P-Q-JOBID` can spell the members or the list of a queue, or the tag of a job in a queue whose name
        begins like this one's: `work` and `work-A` make `P-work-A-x` twice. One such job breaks the other for everyone.
        """
        names = tuple(names)
        tag, own_members = self.tag(queue_key, jobid), self.members(queue_key)
        lists, members = self._of_queues(names)
        if tag == own_members or tag in lists or tag in members:
            return tag
        if self.queue_collision(queue_key, queue_for, names) is not None:
            return queue_key
        for key in (queue_key, tag):
            for other_queue, other_jobid in self._readings_as_a_tag(key):
                is_this_one = other_queue == queue_key and other_jobid == jobid
                if not is_this_one and self._belongs(other_jobid, other_queue, queue_for):
                    return key
        return None

    def queue_collision(self, queue_key: str, queue_for: Callable[[str], str], names: Iterable[str]) -> str | None:
        """The key that this queue would share with another one, or None."""
        lists, members = self._of_queues(tuple(names))
        if queue_key in members or self.members(queue_key) in lists:
            return queue_key
        namesake = queue_key.removesuffix("-members")
        if namesake != queue_key and any(
            self._belongs(jobid, namesake, queue_for) for _, jobid in self._readings_as_a_tag(namesake)
        ):
            return queue_key
        return None

    def _of_queues(self, names: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
        """The keys of the lists of these queues, and of the sets of their members."""
        known, lists, members = self._latest
        if names != known:
            lists = frozenset(map(self.queue, names))
            members = frozenset(map(self.members, lists))
            self._latest = names, lists, members  # in one go, for threads share it
        return lists, members

    def _readings_as_a_tag(self, key: str) -> Iterator[tuple[str, str]]:
        """Each queue key and job id that make this key, were it a run tag."""
        dash = key.find("-", len(self.prefix) + 1)
        while 0 <= dash < len(key) - 1:
            yield key[:dash], key[dash + 1 :]
            dash = key.find("-", dash + 1)

    def _belongs(self, jobid: str, queue_key: str, queue_for: Callable[[str], str]) -> bool:
        try:
            return self.queue(queue_for(jobid)) == queue_key
        except Exception:
            return False  # an id that the worker cannot place is nobody's job


def tags_may_spell_queues(queue_keys: Sequence[str]) -> bool:
    """Whether a run tag of a job in one of these lists can be the key of another, or of its set of members."""
    lists = set(queue_keys)
    for key in lists:
        dash = key.rfind("-")
        while dash > 0:
            if key[:dash] in lists:
                return True
            dash = key.rfind("-", 0, dash)
    return False


def jobid_fault(jobid: object) -> str | None:
    """Why this cannot be registered as a job id, or None. Jobs that others wrote into Redis are not held to it."""
    if not isinstance(jobid, str):
        return f"job id {jobid!r} is not text"
    if not jobid:
        return "job id '' is empty: give the job a name"
    try:
        size = len(jobid.encode())
    except UnicodeEncodeError:
        return f"job id {_shown(jobid)!r} is not valid UTF-8"
    if size > MAX_JOBID_BYTES:
        return f"job id {_shown(jobid)!r} is {size} bytes long: at most {MAX_JOBID_BYTES} are allowed"
    if _CONTROL_CHARACTER.search(jobid):
        return f"job id {_shown(jobid)!r} has a line break or another control character: leave it out"
    return None


def _shown(jobid: str) -> str:
    return jobid if len(jobid) <= 60 else f"{jobid[:60]}…"
