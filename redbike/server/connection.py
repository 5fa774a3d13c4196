"""Call scripts over a separate connection. Every job needs a script call, and a pool would double the cost of the call.

redis-py opens, encrypts and repairs the connection, and reads the replies. This module packs the commands: RESP, the
Redis serialization protocol specification.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from redbike.server.refusals import is_not_sent, is_read_only

_LENGTHS = [b"\r\n$%d\r\n" % length for length in range(1024)]
"""What stands before an argument of each length: writing numbers is what takes time in packing."""


class Packed:
    """Arguments that are the same in many calls, packed once."""

    __slots__ = ("arguments", "data")

    def __init__(self, arguments: Iterable[bytes]) -> None:
        self.arguments = tuple(arguments)
        self.data = b"".join([b"\r\n$%d\r\n%b" % (len(one), one) for one in self.arguments])


Argument = bytes | Packed


def pack(arguments: Iterable[Argument]) -> bytes:
    """Return the command as it is sent."""
    count = 0
    pieces: list[bytes] = []
    add = pieces.append
    for one in arguments:
        if isinstance(one, bytes):
            count += 1
            length = len(one)
            add(_LENGTHS[length] if length < 1024 else b"\r\n$%d\r\n" % length)
            add(one)
        else:
            count += len(one.arguments)
            add(one.data)
    return b"*%d%b\r\n" % (count, b"".join(pieces))


def unpack(arguments: Iterable[Argument]) -> list[bytes]:
    """Return all arguments in a flat list, for a client that packs them itself."""
    flat: list[bytes] = []
    for argument in arguments:
        flat += argument.arguments if isinstance(argument, Packed) else (argument,)
    return flat


class Opened:
    """An open connection of one process, for one thread at a time."""

    def __init__(self, client: redis.Redis) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.is_broken = False
        self._dedicated: redis.Redis = client.client()  # takes a connection from the pool and opens it
        self.connection: Any = self._dedicated.connection


class ScriptConnection:
    """A connection for script calls. It raises the errors of redis-py and connects again after a failure.

    It is opened when it is first needed. A forked child opens its own connection, because replies to two processes on
    the same connection would be mixed.
    """

    def __init__(self, client: redis.Redis, own: bool = True) -> None:
        """Use connections of this client. `own` is False on a Cluster, where the client finds the node of each call."""
        self.client = client
        self._own = own
        self._opened: Opened | None = None
        self._is_unanswered = False

    def claim(self) -> Opened | None:
        """Reserve the connection, until its lock is released. Return None if a thread uses it, or on a Cluster."""
        if not self._own:
            return None
        opened = self._opened
        if opened is None or opened.pid != os.getpid():
            # Threads that come at the same time open a connection each. The last stays; each is used by its own thread.
            opened = self._opened = Opened(self.client)
        return opened if opened.lock.acquire(blocking=False) else None

    def reopen(self) -> None:
        """Connect again at the next call. Do nothing while a call is running."""
        opened = self._opened
        if opened is not None and opened.pid == os.getpid() and opened.lock.acquire(blocking=False):
            opened.is_broken = True
            opened.lock.release()

    def call(self, opened: Opened, command: bytes) -> object:
        """Send one packed command and return its reply. Reserve the connection before."""
        connection = opened.connection
        if opened.is_broken:
            # redis-py would reconnect while it sends, but to the old primary, without asking the Sentinels. Also, a
            # late reply to the last command must not be read as the reply to this command.
            connection.disconnect()
            connection.connect()
        opened.is_broken = True
        connection.send_packed_command([command])
        self._is_unanswered = True
        try:
            reply: object = connection.read_response()
        except (redis.ResponseError, redis.BusyLoadingError) as error:
            self._is_unanswered = False
            # A primary that has become a replica does not change back. A new connection finds the new primary.
            opened.is_broken = is_read_only(error)
            raise
        self._is_unanswered = opened.is_broken = False
        return reply

    @contextmanager
    def none_used(self) -> Iterator[None]:
        """Surround a call that uses a connection of the pool instead, and record whether its reply arrives."""
        was_unanswered, self._is_unanswered = self._is_unanswered, True
        try:
            yield
        except (redis.ResponseError, redis.BusyLoadingError):
            self._is_unanswered = False
            raise
        except redis.ConnectionError as error:
            if is_not_sent(error):
                self._is_unanswered = was_unanswered
            raise
        self._is_unanswered = False

    @property
    def is_unanswered(self) -> bool:
        """Return True if the latest call was sent, or may have been sent, and no reply to it arrived.

        The answer is of use only where one thread makes all calls.
        """
        return self._is_unanswered
