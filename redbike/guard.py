"""Which jobs of other programs may enter a queue: `set` refuses ids that would break one, Redis does not.

Asked for every job that comes due, so what holds for a whole queue is worked out once.
"""

from collections.abc import Callable

from redbike.errors import JobIdError
from redbike.keys import Keys
from redbike.worker import Worker

_MOST_REMEMBERED = 100_000


class Guard:
    """Looks at the jobs of one prefix before they enter a queue."""

    def __init__(self, keys: Keys, worker: Worker, queue_key_for: Callable[[str], str]) -> None:
        self._keys = keys
        self._worker = worker
        self._queue_key_for = queue_key_for
        self._is_sound: dict[str, bool] = {}
        """By queue key: whether the queue shares no key with another one."""
        self._taken: set[str] = set()
        """The keys of the queues met so far, and of their members."""

    def queue_key_for(self, jobid: str) -> str:
        """Return the key of the job's queue. Raises JobIdError for a job that would break a queue."""
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
        is_sound = keys.queue_collision(queue_key, self._worker.queue_for, names) is None
        self._is_sound[queue_key] = is_sound
        if is_sound:
            self._taken |= {queue_key, keys.members(queue_key)}
        return is_sound
