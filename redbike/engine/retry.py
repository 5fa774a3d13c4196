"""The retry policy: repeat calls of Redis with back-off and jitter. Log one line when Redis goes, one when it is back.

This module decides only whether and when to call again. The scripts guarantee that a repeated call does no harm.
Retries of jobs that failed are not decided here, but in outcome.py.
"""

import logging
import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

import redis

from redbike.engine.interruptible import InterruptibleWait
from redbike.engine.life import SignOfLife
from redbike.errors import ServerError
from redbike.server.refusals import (
    PlainPort,
    is_cluster_down,
    is_read_only,
    is_slot_moving,
    is_unblocked,
    is_unknown_command,
)

T = TypeVar("T")

FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException)
"""The errors of redis-py. The two classes have no common base class of redis-py."""

_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 2.0
_TRIES_OF_A_COMMAND = 4
_WAITS_OF_A_TRY = 8  # the connection, a reply to each command that opens it, and the reply to the call
_SLACK_S = 60.0  # the pauses between tries, and the start of an embedded server
_A_DAY_S = 86_400
_CLUSTER_SETTLES_S = 5.0
"""The longest time that a single command waits for a Cluster that moves a slot or fails over."""
_CONNECTIONS_OF_A_LOOP = 2  # its script connection, and a connection of the pool: a restart of the server cuts both

Attempt = Callable[[bool], T]
"""A call of Redis. Its argument is True if an earlier try may have been carried out without a reply."""


class Stopped(Exception):
    """The process was asked to stop while it waited for Redis."""


def never() -> bool:
    """Do not stop."""
    return False


class RetryPolicy:
    """Call Redis for loops, which never give up, and for single commands, which give up soon."""

    def __init__(
        self,
        where: str,
        log: logging.Logger,
        wait: InterruptibleWait,
        forget_idle: Callable[[], None],
        is_closed: Callable[[], bool] = never,
    ) -> None:
        """`forget_idle`: close idle connections, because they may lead to a dead or read-only server.

        `is_closed`: whether another thread closed the connections, so that loops have to end.
        """
        self._where = where
        self._log = log
        self._wait = wait
        self._forget_idle = forget_idle
        self._is_closed = is_closed
        self.life = SignOfLife()
        """The sign of life of the loop that calls."""

    def retry_forever(self, attempt: Attempt[T], stop: Callable[[], bool]) -> T:
        """Return the attempt's result, however long Redis is away. Raise Stopped once `stop` returns True."""
        with self.life:
            return self._retry_forever(attempt, stop)

    def _retry_forever(self, attempt: Attempt[T], stop: Callable[[], bool]) -> T:
        gone_at: float | None = None
        failures = 0
        while True:
            try:
                result = attempt(failures > 0)
            except (*FAILURES, ValueError, AttributeError, OSError) as raised:
                error = self._failure(raised)
                failures += 1
                # A cut connection is not an outage if the server is still there: then the next try succeeds.
                if failures <= _CONNECTIONS_OF_A_LOOP and _is_cut(error) and not stop():
                    continue
                if self._is_closed() and stop():
                    raise Stopped from error
                if gone_at is None:
                    gone_at = time.monotonic()
                    self._log.warning("%s; trying until it is back", describe(error, self._where))
                if stop():
                    raise Stopped from error
                self._wait.sleep(_delay_s(failures))
            else:
                # A loop that has to stop ends its waits without asking Redis. That does not prove that Redis is back.
                if gone_at is not None and not stop():
                    away_s = time.monotonic() - gone_at
                    self._log.warning("Redis at %s is back after %.1f s", self._where, away_s)
                return result

    def retry(self, attempt: Attempt[T], stop: Callable[[], bool] = never) -> T:
        """Return the attempt's result. After about half a second of failures, raise ServerError with the reason.

        A Cluster that is changing gets five seconds. Raise Stopped if `stop` returns True between two tries.
        """
        with self.life:
            return self._retry(attempt, stop)

    def _retry(self, attempt: Attempt[T], stop: Callable[[], bool]) -> T:
        failures, began_at = 0, time.monotonic()
        while True:
            try:
                return attempt(failures > 0)
            except (*FAILURES, ValueError, AttributeError, OSError) as raised:
                error = self._failure(raised)
                failures += 1
                may_pass = isinstance(error, redis.ConnectionError | redis.TimeoutError) or is_unblocked(error)
                refused = isinstance(error, redis.AuthenticationError)
                if is_slot_moving(error) or is_cluster_down(error):
                    gives_up = time.monotonic() - began_at >= _CLUSTER_SETTLES_S
                else:
                    gives_up = not may_pass or refused or failures >= _TRIES_OF_A_COMMAND
                if gives_up:
                    raise ServerError(describe(error, self._where)) from error
                if stop():
                    raise Stopped from error
                self._wait.sleep(_delay_s(failures))

    def _failure(self, raised: Exception) -> Exception:
        """Return the error of Redis behind an exception. Raise the exception if Redis did not cause it."""
        error = raised
        if not isinstance(raised, FAILURES):
            if not self._is_closed():
                raise raised
            # A connection that is closed during a call raises many kinds of exceptions.
            error = redis.ConnectionError("the connection was closed by another thread")
            error.__cause__ = raised
        if isinstance(error, redis.TimeoutError) or is_read_only(error) or is_unblocked(error):
            # The other idle connections lead to the same server, so they would fail one after the other.
            self._forget_idle()
        return error


def _is_cut(error: Exception) -> bool:
    return isinstance(error, redis.ConnectionError) or is_unblocked(error)


def repeats_within_s(socket_timeout_s: float | None) -> int:
    """Return the seconds within which a command makes its last try. Without a limit for replies, this is a day."""
    if socket_timeout_s is None:
        return _A_DAY_S
    return min(_A_DAY_S, math.ceil(_SLACK_S + _TRIES_OF_A_COMMAND * _WAITS_OF_A_TRY * socket_timeout_s))


def describe(error: Exception, where: str) -> str:
    """Return one line for a log or a user: the server, the error, and the way out."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError) or "NOAUTH" in text:
        return f"Redis at {where}: access denied: {text} (username and password are set in [redbike-redis])"
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
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | PlainPort):
        return f"Redis at {where} is out of reach: {text}"
    return f"Redis at {where} answers with an error: {text}"


def _delay_s(failures: int) -> float:
    """Return a delay that doubles up to a limit. The jitter keeps the processes of a fleet from calling all at once."""
    longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, 10))
    return random.uniform(longest / 2, longest)
