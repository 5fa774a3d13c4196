"""The queue monitor: one dispatcher looks at the queues for many idle workers, so that each worker looks less often.

It wakes an idle worker if another program has put jobs into a queue without ringing its bell. It wakes all workers for
a halt. Only a large fleet gets this offer: a sign in Redis (P:watch:Q), which idle workers see when they look.
"""

import time
from collections.abc import Sequence
from contextlib import suppress

import redis

from redbike.store.keys import Keys
from redbike.store.store import Store

_LOOK_EVERY_S = 1.0
_OFFER_EVERY_S = 20.0
_FIRST_OFFER_AFTER_S = 3.0
_VALID_S = 45  # how long workers rely on the sign
_MANY = 16
"""The fewest idle workers that may rely on the dispatcher. If it is killed, each of them still looks every few seconds,
so that one of them looks within a second."""

_NOTE_EVERY_S = 15.0
"""The seconds between two notes of an idle worker. There is a note between two offers: a worker looks often enough."""


class IdleWorkers:
    """The idle workers of a prefix. Each writes its name from time to time, a dispatcher counts and removes the names.

    With several dispatchers, each counts only some of the workers, and offers to monitor later. This costs some
    commands, and nothing else.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.idle
        self._noted_at = -_NOTE_EVERY_S

    def note(self, name: str) -> None:
        """Write the name of this idle worker, unless it was written recently."""
        now = time.monotonic()
        if now - self._noted_at < _NOTE_EVERY_S:
            return
        self._noted_at = now
        with suppress(redis.ResponseError):  # no loss: workers that are not counted look by themselves
            self._client.sadd(self._key, name)
            self._client.expire(self._key, _VALID_S)

    def count(self) -> int:
        """Return the number of workers that wrote their names since the last count."""
        number = 0
        with suppress(redis.ResponseError):
            number = int(self._client.scard(self._key))
            self._client.delete(self._key)
        return number


class QueueMonitor:
    """Monitors the queues that a dispatcher's worker names."""

    def __init__(self, store: Store, client: redis.Redis, keys: Keys, queue_keys: Sequence[str]) -> None:
        self.queue_keys = list(dict.fromkeys(queue_keys))
        self._watch_keys = [keys.watch(queue_key) for queue_key in self.queue_keys]
        self._store = store
        self._client = client
        self._idle = IdleWorkers(client, keys)
        self._looked_at = time.monotonic()
        self._offered_at = self._looked_at - _OFFER_EVERY_S + _FIRST_OFFER_AFTER_S

    def look(self, has_reason: bool | None = None) -> bool:
        """Wake workers if there is a reason, at most once per second. Return True if the prefix is halted.

        `has_reason` is True if there is a job in the queues, or a signal. None means that this is not known.
        """
        now = time.monotonic()
        if now - self._offered_at >= _OFFER_EVERY_S:
            self._offered_at = now
            if self._idle.count() >= _MANY:
                self._offer()
        if has_reason or (has_reason is None and now - self._looked_at >= _LOOK_EVERY_S):
            halted = self._store.wake(self.queue_keys)
            self._looked_at = now
            return halted
        return False

    def end(self, halted: bool) -> None:
        """Stop monitoring, and wake the workers if the prefix is halted."""
        with suppress(redis.RedisError):  # no loss: the sign expires, and workers look by themselves
            self._client.delete(*self._watch_keys)
        if halted:
            self._store.wake(self.queue_keys)

    def _offer(self) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for watch_key in self._watch_keys:
            pipeline.set(watch_key, "1", ex=_VALID_S)
        pipeline.execute()
