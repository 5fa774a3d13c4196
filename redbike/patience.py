"""Outliving a Redis that is away: trying again with back-off and jitter, and one log line when it goes and one when
it is back.

Decides only whether and when to call again; that a call may be repeated is the scripts' promise.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import redis

from redbike.errors import ServerError
from redbike.refusals import is_cluster_down, is_slot_moving, is_unblocked, is_unknown_command
from redbike.waiting import Nap, pause

T = TypeVar("T")

FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException)
"""Whatever redis-py raises; the second has no base of its own."""

_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 2.0
_TRIES_OF_A_VERB = 4
_CLUSTER_SETTLES_S = 5.0
"""How long a single verb waits for a Cluster that moves a slot or fails over."""
_CONNECTIONS_OF_A_LOOP = 2  # the wire, and one of the pool: a server that was restarted has cut both

Attempt = Callable[[bool], T]
"""A call to Redis; told whether an earlier try may have been carried out without our seeing the reply."""


class Stopped(Exception):
    """The process was told to stop while it waited for Redis."""


class Patience:
    """Calls Redis on behalf of loops, which never give up, and of single verbs, which soon do."""

    def __init__(self, where: str, log: logging.Logger, nap: Nap, forget: Callable[[], None]) -> None:
        """`forget`: lets go of idle connections, which lead to a server that is none, or takes no writes, any more."""
        self._where = where
        self._forget = forget
        self._log = log
        self._nap = nap

    def outlast(self, attempt: Attempt[T], stop: Callable[[], bool]) -> T:
        """The attempt's result, however long Redis is away. Raises Stopped where `stop` says so in the meantime."""
        gone_at: float | None = None
        failures = 0
        while True:
            try:
                result = attempt(failures > 0)
            except FAILURES as error:
                failures += 1
                self._after(error)
                # A connection that was cut, with the server still there, is no outage: the next try settles it.
                if failures <= _CONNECTIONS_OF_A_LOOP and _is_cut(error) and not stop():
                    continue
                if gone_at is None:
                    gone_at = time.monotonic()
                    self._log.warning("%s; trying until it is back", describe(error, self._where))
                if stop():
                    raise Stopped from error
                pause(self._nap, _delay_s(failures))
            else:
                # A loop that has to stop ends its waits without asking Redis: that is no sign of life.
                if gone_at is not None and not stop():
                    away_s = time.monotonic() - gone_at
                    self._log.warning("Redis at %s is back after %.1f s", self._where, away_s)
                return result

    def try_briefly(self, attempt: Attempt[T], stop: Callable[[], bool] = lambda: False) -> T:
        """The attempt's result; about half a second of failures is a ServerError that says why.

        A Cluster that is changing gets five seconds. Raises Stopped where `stop` says so between two tries.
        """
        failures, began_at = 0, time.monotonic()
        while True:
            try:
                return attempt(failures > 0)
            except FAILURES as error:
                failures += 1
                self._after(error)
                passing = isinstance(error, redis.ConnectionError | redis.TimeoutError) or is_unblocked(error)
                refused = isinstance(error, redis.AuthenticationError)
                if is_slot_moving(error) or is_cluster_down(error):
                    over = time.monotonic() - began_at >= _CLUSTER_SETTLES_S
                else:
                    over = not passing or refused or failures >= _TRIES_OF_A_VERB
                if over:
                    raise ServerError(describe(error, self._where)) from error
                if stop():
                    raise Stopped from error
                pause(self._nap, _delay_s(failures))

    def _after(self, error: Exception) -> None:
        # The other connections lead to where this one led, and would fail one after the other.
        lost = isinstance(error, redis.exceptions.ReadOnlyError | redis.TimeoutError) or is_unblocked(error)
        if lost or "READONLY" in str(error):
            self._forget()


def _is_cut(error: Exception) -> bool:
    return isinstance(error, redis.ConnectionError) or is_unblocked(error)


def describe(error: Exception, where: str) -> str:
    """One line for a log or a user: which server, what is wrong, and what to do about it."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError) or "NOAUTH" in text:
        return f"Redis at {where} refuses us: {text} (username and password are set in [redbike-redis])"
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return f"Redis at {where} is a read-only replica: name its primary in [redbike-redis] ({text})"
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return f"Redis at {where} is still loading its data"
    if is_slot_moving(error):
        return f"Redis Cluster at {where} is moving the slot of this prefix ({text}): wait until that is done"
    if is_cluster_down(error):
        return f"Redis Cluster at {where} is down, or has no node for the slot of this prefix: {text}"
    if is_unknown_command(error):
        return f"Redis at {where} lacks a command that Redbike needs: {text} (see rename-command in its conf)"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return f"Redis at {where} is out of reach: {text}"
    return f"Redis at {where} answers with an error: {text}"


def _delay_s(failures: int) -> float:
    """Doubling, bounded; the jitter keeps a fleet from coming back all at once."""
    longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, 10))
    return random.uniform(longest / 2, longest)
