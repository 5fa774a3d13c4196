"""A dispatcher's watch over the queues, for the workers: so that a large fleet of idle workers need not look by itself.

It wakes an idle worker for jobs that other programs put into a queue without ringing, and all of them for a halt.
"""

import time
from collections.abc import Sequence
from contextlib import suppress

import redis

from redbike.keys import Keys
from redbike.scripts import Scripts

_LOOK_EVERY_S = 1.0
_OFFER_EVERY_S = 20.0
_FIRST_OFFER_AFTER_S = 3.0
_VALID_S = 45  # how long workers rely on it
_MANY = 16
"""From so many idle workers on, these may rely on the watch. Should the dispatcher be killed, there are then enough
of them, each looking by itself every few seconds, for one to look within a second."""

_NOTE_EVERY_S = 15.0
"""How often a worker notes that it is idle: at least once between two offers, for it looks every few seconds."""


class IdleWorkers:
    """The idle workers of a prefix: each notes its name now and then, and a dispatcher counts the names and drops them.

    With several dispatchers each counts some of them, and is late to offer its watch. That costs commands, no more.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.idle
        self._noted_at = -_NOTE_EVERY_S

    def note(self, name: str) -> None:
        """Note that the worker of this name is idle, where it was not noted lately."""
        now = time.monotonic()
        if now - self._noted_at < _NOTE_EVERY_S:
            return
        self._noted_at = now
        with suppress(redis.ResponseError):  # it is no loss: unknown workers look by themselves
            self._client.sadd(self._key, name)
            self._client.expire(self._key, _VALID_S)

    def count(self) -> int:
        """How many workers noted their names since this was last asked."""
        number = 0
        with suppress(redis.ResponseError):
            number = int(self._client.scard(self._key))
            self._client.delete(self._key)
        return number


class Watch:
    """One dispatcher's watch over the queues that its worker names."""

    def __init__(self, scripts: Scripts, client: redis.Redis, keys: Keys, queue_keys: Sequence[str]) -> None:
        self.queue_keys = list(dict.fromkeys(queue_keys))
        self._watch_keys = [keys.watch(queue_key) for queue_key in self.queue_keys]
        self._scripts = scripts
        self._client = client
        self._idle = IdleWorkers(client, keys)
        self._looked_at = time.monotonic()
        self._offered_at = self._looked_at - _OFFER_EVERY_S + _FIRST_OFFER_AFTER_S

    def look(self, stirring: bool | None = None) -> bool:
        """Wake workers where that is called for; whether the prefix is halted, as far as that was looked at.

        `stirring`: whether there is anything in the queues, or a signal; None: not known. Does nothing where that is
        not needed yet.
        """
        now = time.monotonic()
        if now - self._offered_at >= _OFFER_EVERY_S:
            self._offered_at = now
            if self._idle.count() >= _MANY:
                self._offer()
        if stirring or (stirring is None and now - self._looked_at >= _LOOK_EVERY_S):
            halted = self._scripts.wake(self.queue_keys)
            self._looked_at = now
            return halted
        return False

    def end(self, halted: bool) -> None:
        """Leave the queues to the workers, and wake these where the prefix is halted."""
        with suppress(redis.RedisError):  # it is no loss: workers look for themselves before long
            self._client.delete(*self._watch_keys)
        if halted:
            self._scripts.wake(self.queue_keys)

    def _offer(self) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for watch_key in self._watch_keys:
            pipeline.set(watch_key, "1", ex=_VALID_S)
        pipeline.execute()
