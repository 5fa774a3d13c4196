"""Decide which job ids are allowed: their form, and the keys that they would share with another use.

`set` refuses an id that is not allowed. Redis accepts it, so jobs of other programs are checked before they enter a
queue.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from redbike.errors import JobIdError
from redbike.store.keys import MEMBERS, Keys
from redbike.worker import Worker

MAX_JOBID_BYTES = 4096
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_MOST_REMEMBERED = 100_000


class Collisions:
    """Find keys of one prefix that two uses would share."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._latest: tuple[tuple[str, ...], frozenset[str], frozenset[str]] = (), frozenset(), frozenset()

    def of(self, jobid: str, queue_key: str, queue_for: Callable[[str], str], names: Iterable[str]) -> str | None:
        """Return the key that this job would share with another use, or None.

        A run tag `P-Q-JOBID` can be the same key as the members or the list of a queue. It can also be the run tag of a
        job in another queue, if the names of both queues begin alike: `work` and `work-A` both make `P-work-A-x`. Such
        a job breaks the other job.
        """
        names = tuple(names)
        return self.of_tag(jobid, queue_key, queue_for, names) or self.of_list(queue_key, queue_for, names)

    def of_tag(self, jobid: str, queue_key: str, queue_for: Callable[[str], str], names: tuple[str, ...]) -> str | None:
        """Return the run tag of this job if another use would share it, or None."""
        tag = self._keys.tag(queue_key, jobid)
        lists, members = self._of_queues(names)
        is_shared = tag == self._keys.members(queue_key) or tag in lists or tag in members
        return tag if is_shared or self._spells_a_tag(tag, queue_for, (queue_key, jobid)) else None

    def of_list(self, queue_key: str, queue_for: Callable[[str], str], names: tuple[str, ...]) -> str | None:
        """Return the key of a queue that would share its keys with another queue or with a run tag, or None."""
        shared = self.of_queue(queue_key, queue_for, names)
        return shared or (queue_key if self._spells_a_tag(queue_key, queue_for) else None)

    def of_queue(self, queue_key: str, queue_for: Callable[[str], str], names: Iterable[str]) -> str | None:
        """Return the key that this queue would share with another queue, or None."""
        lists, members = self._of_queues(tuple(names))
        shares = queue_key in members or self._keys.members(queue_key) in lists
        return queue_key if shares or self._is_a_tags_members(queue_key, queue_for) else None

    def _is_a_tags_members(self, queue_key: str, queue_for: Callable[[str], str]) -> bool:
        return queue_key.endswith(MEMBERS) and self._spells_a_tag(queue_key.removesuffix(MEMBERS), queue_for)

    def _of_queues(self, names: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
        """Return the keys of the lists of these queues, and of the sets of their members."""
        known, lists, members = self._latest
        if names != known:
            lists = frozenset(map(self._keys.queue, names))
            members = frozenset(map(self._keys.members, lists))
            self._latest = names, lists, members  # one assignment, because threads share it
        return lists, members

    def _spells_a_tag(self, key: str, queue_for: Callable[[str], str], beside: tuple[str, str] | None = None) -> bool:
        """Return True if this key is the run tag of some job other than `beside`, a queue and a job."""
        dash = key.find("-", len(self._keys.prefix) + 1)
        while 0 <= dash < len(key) - 1:
            queue_key, jobid = key[:dash], key[dash + 1 :]
            if (queue_key, jobid) != beside:
                # An id that the worker cannot place belongs to no job.
                with suppress(Exception):
                    if self._keys.queue(queue_for(jobid)) == queue_key:
                        return True
            dash = key.find("-", dash + 1)
        return False


class Guard:
    """Check the jobs of one prefix before they enter a queue, also jobs that other programs wrote."""

    def __init__(
        self, keys: Keys, collisions: "Collisions", worker: Worker, queue_key_for: Callable[[str], str]
    ) -> None:
        self._keys = keys
        self._collisions = collisions
        self._worker = worker
        self._queue_key_for = queue_key_for
        self._is_sound: dict[str, bool] = {}
        """For each queue key: True if the queue shares no key with another queue."""
        self._taken: set[str] = set()
        """The keys of the queues seen so far, and of their members."""

    def queue_key_for(self, jobid: str) -> str:
        """Return the key of the job's queue. Raise JobIdError for a job that would break a queue."""
        queue_key = self._queue_key_for(jobid)
        is_sound = self._is_sound.get(queue_key)
        if is_sound is None:
            is_sound = self._look_at(queue_key)
        tag = self._keys.tag(queue_key, jobid)
        if not is_sound or tag in self._taken:
            key = tag if is_sound else queue_key
            raise JobIdError(f"job id {jobid!r} would share the key {key!r} with a queue: unset it, choose another id")
        return queue_key

    def _look_at(self, queue_key: str) -> bool:
        keys, names = self._keys, self._worker.queue_names()
        if not self._taken or len(self._is_sound) >= _MOST_REMEMBERED:
            self._is_sound.clear()
            self._taken = {key for name in names for key in (keys.queue(name), keys.members(keys.queue(name)))}
        is_sound = self._collisions.of_queue(queue_key, self._worker.queue_for, names) is None
        self._is_sound[queue_key] = is_sound
        if is_sound:
            self._taken |= {queue_key, keys.members(queue_key)}
        return is_sound


def tags_may_spell_queues(queue_keys: Sequence[str]) -> bool:
    """Return True if a run tag of a job in one of these lists can be the key of another list, or of its members."""
    lists = set(queue_keys)
    for key in lists:
        dash = key.rfind("-")
        while dash > 0:
            if key[:dash] in lists:
                return True
            dash = key.rfind("-", 0, dash)
    return False


def jobid_fault(jobid: object) -> str | None:
    """Return why this cannot be registered as a job id, or None. Other programs may write jobs with such ids."""
    if not isinstance(jobid, str):
        return f"job id {jobid!r} is not text"
    if jobid.isascii() and jobid.isprintable() and 0 < len(jobid) <= MAX_JOBID_BYTES:
        return None  # the usual case, in a tenth of the time
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
