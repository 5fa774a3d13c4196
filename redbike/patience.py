"""Outliving a Redis that is away: trying again with back-off and jitter, and one log line when it goes and one when
it is back.

Decides only whether and when to call again; that a call may be repeated is the scripts' promise.
"""

import logging
import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

import redis

from redbike.errors import ServerError
from redbike.refusals import is_cluster_down, is_slot_moving, is_unblocked, is_unknown_command
from redbike.tls import PlainPort
from redbike.waiting import Nap, pause

T = TypeVar("T")

FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException)
"""Whatever redis-py raises; the second has no base of its own."""

_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 2.0
_TRIES_OF_A_VERB = 4
_WAITS_OF_A_TRY = 8  # for a connection, a reply to each command that opens it, and the reply to the call
_SLACK_S = 60.0  # for the pauses between tries, and for a server that is started first
_A_DAY_S = 86_400
_CLUSTER_SETTLES_S = 5.0
"""How long a single verb waits for a Cluster that moves a slot or fails over."""
_CONNECTIONS_OF_A_LOOP = 2  # the wire, and one of the pool: a server that was restarted has cut both

Attempt = Callable[[bool], T]
"""A call to Redis; told whether an earlier try may have been carried out without our seeing the reply."""


class Stopped(Exception):
    """The process was told to stop while it waited for Redis."""


class Patience:
    """Calls Redis on behalf of loops, which never give up, and of single verbs, which soon do."""

    def __init__(
        self,
        where: str,
        log: logging.Logger,
        nap: Nap,
        forget: Callable[[], None],
        is_closed: Callable[[], bool] = lambda: False,
    ) -> None:
        """`forget`: lets go of idle connections, which lead to a server that is none, or takes no writes, any more.

        `is_closed`: whether connections are closed while loops use them, which then end.
        """
        self._where = where
        self._forget = forget
        self._is_closed = is_closed
        self._log = log
        self._nap = nap

    def outlast(self, attempt: Attempt[T], stop: Callable[[], bool]) -> T:
        """The attempt's result, however long Redis is away. Raises Stopped where `stop` says so in the meantime."""
        gone_at: float | None = None
        failures = 0
        while True:
            try:
                result = self._closable(attempt, failures > 0)
            except FAILURES as error:
                failures += 1
                self._after(error)
                # A connection that was cut, with the server still there, is no outage: the next try settles it.
                if failures <= _CONNECTIONS_OF_A_LOOP and _is_cut(error) and not stop():
                    continue
                if self._is_closed() and stop():
                    raise Stopped from error
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
                return self._closable(attempt, failures > 0)
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

    def _closable(self, attempt: Attempt[T], repeated: bool) -> T:
        """The attempt's result. What a connection raises that is closed in the midst of its use is a failure."""
        try:
            return attempt(repeated)
        except (ValueError, AttributeError, OSError) as error:
            if not self._is_closed() or isinstance(error, FAILURES):
                raise
            raise redis.ConnectionError("the connection was closed by another thread") from error

    def _after(self, error: Exception) -> None:
        # The other connections lead to where this one led, and would fail one after the other.
        lost = isinstance(error, redis.exceptions.ReadOnlyError | redis.TimeoutError) or is_unblocked(error)
        if lost or "READONLY" in str(error):
            self._forget()


def _is_cut(error: Exception) -> bool:
    return isinstance(error, redis.ConnectionError) or is_unblocked(error)


def repeats_within_s(socket_timeout_s: float | None) -> int:
    """Return within what time a verb makes its last try, seconds; a day where it waits for a reply without a limit."""
    if socket_timeout_s is None:
        return _A_DAY_S
    return min(_A_DAY_S, math.ceil(_SLACK_S + _TRIES_OF_A_VERB * _WAITS_OF_A_TRY * socket_timeout_s))


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
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | PlainPort):
        return f"Redis at {where} is out of reach: {text}"
    return f"Redis at {where} answers with an error: {text}"


def _delay_s(failures: int) -> float:
    """Doubling, bounded; the jitter keeps a fleet from coming back all at once."""
    longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, 10))
    return random.uniform(longest / 2, longest)
