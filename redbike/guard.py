"""Which jobs of other programs may enter a queue: `set` refuses ids that would break one, Redis does not.

Asked for every job that comes due, so what holds for a whole queue is worked out once.
"""

from collections.abc import Callable

from redbike.errors import JobIdError
from redbike.keys import Keys
from redbike.worker import Worker

_MOST_REMEMBERED = 1_000
_UNKNOWN: frozenset[str] = frozenset({""})


class Guard:
    """Looks at the jobs of one prefix before they enter a queue."""

    def __init__(self, keys: Keys, worker: Worker, queue_key_for: Callable[[str], str]) -> None:
        self._keys = keys
        self._worker = worker
        self._queue_key_for = queue_key_for
        self._refused: dict[str, frozenset[str] | None] = {}
        """By queue key: ids that would break a queue from there; None: the queue itself would."""

    def queue_key_for(self, jobid: str) -> str:
        """Return the key of the job's queue. Raises JobIdError for a job that would break a queue."""
        queue_key = self._queue_key_for(jobid)
        refused = self._refused.get(queue_key, _UNKNOWN)
        if refused is _UNKNOWN:
            refused = self._look_at(queue_key)
        if refused is None or jobid in refused:
            key = queue_key if refused is None else self._keys.tag(queue_key, jobid)
            raise JobIdError(f"job id {jobid!r} would share the key {key!r} with a queue: unset it, choose another id")
        return queue_key

    def _look_at(self, queue_key: str) -> frozenset[str] | None:
        keys, names = self._keys, self._worker.queue_names()
        if len(self._refused) >= _MOST_REMEMBERED:
            self._refused.clear()
        if keys.queue_collision(queue_key, self._worker.queue_for, names) is not None:
            self._refused[queue_key] = None
            return None
        known = {queue_key, *map(keys.queue, names), *(key for key, ids in self._refused.items() if ids is not None)}
        taken = known | {keys.members(key) for key in known}
        for queue in (queue_key, *(key for key, ids in self._refused.items() if ids is not None)):
            tags = keys.tag(queue, "")
            self._refused[queue] = frozenset(key.removeprefix(tags) for key in taken if key.startswith(tags))
        return self._refused[queue_key]
