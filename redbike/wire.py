"""Commands packed by hand and sent on a connection of their own: for the calls of scripts, which every job costs.

redis-py makes, secures and mends the connection, and reads the replies. What is saved is the packing of arguments that
are the same in every call, and the way to a pool and back. RESP: the Redis serialization protocol specification.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

_LENGTHS = [b"$%d\r\n" % length for length in range(1024)]  # formatting numbers is what takes long in packing


def pack(arguments: Sequence[bytes]) -> bytes:
    """A command as it is sent."""
    return b"*%d\r\n" % len(arguments) + b"".join([b"$%d\r\n%b\r\n" % (len(one), one) for one in arguments])


class Template:
    """A command of which only some arguments change: the others are packed once."""

    def __init__(self, arguments: Sequence[bytes | None]) -> None:
        """None stands for an argument that changes."""
        self._arguments = list(arguments)
        # Text that stays, then for each argument that changes: its length, itself, and the text up to the next one.
        self._parts = [b"*%d\r\n" % len(arguments)]
        for one in arguments:
            if one is None:
                self._parts += (b"", b"", b"\r\n")
            else:
                self._parts[-1] += b"$%d\r\n%b\r\n" % (len(one), one)

    def packed(self, changing: Sequence[bytes]) -> bytes:
        """The command as it is sent, with these arguments in the places of those that change."""
        parts = self._parts[:]
        try:
            parts[1::3] = [_LENGTHS[len(one)] for one in changing]
        except IndexError:
            parts[1::3] = [b"$%d\r\n" % len(one) for one in changing]
        parts[2::3] = changing
        return b"".join(parts)

    def arguments(self, changing: Sequence[bytes]) -> list[bytes]:
        """The same as a list, for a client that packs it itself."""
        those = iter(changing)
        return [next(those) if one is None else one for one in self._arguments]


class Wire:
    """A client's own connection. Raises what redis-py raises, and opens the connection again after a failure."""

    def __init__(self, client: redis.Redis) -> None:
        """Connects at once, from the client's pool, and keeps that connection."""
        self._dedicated: redis.Redis = client.client()
        connection: Any = self._dedicated.connection
        self._connection = connection
        self._send, self._read = connection.send_packed_command, connection.read_response
        self._is_broken = False
        self._lock = threading.Lock()
        self.is_unanswered = False
        """Whether a command was sent whose reply did not come: it may have been carried out."""

    def claim(self) -> bool:
        """Whether the wire is ours until `free`; another thread may be using it."""
        return self._lock.acquire(blocking=False)

    def free(self) -> None:
        """Let others use the wire."""
        self._lock.release()

    def reopen(self) -> None:
        """Open the connection anew at the next call, unless there is a call under way."""
        if self.claim():
            self._is_broken = True
            self.free()

    def call(self, command: bytes) -> object:
        """Send one packed command and read its reply. For whoever has claimed the wire."""
        if self._is_broken:
            # Sending would connect by itself, but to where the primary was, without asking the Sentinels. And a reply
            # that came too late to be read must not be taken for the next one.
            self._connection.disconnect()
            self._connection.connect()
        self._is_broken = True
        self._send([command])
        self.is_unanswered = True
        try:
            reply: object = self._read()
        except (redis.ResponseError, redis.BusyLoadingError) as error:
            self.is_unanswered = False
            # A primary that has become a replica stays one: elsewhere, or on another connection, is its successor.
            # (Redis 6.2 says so within the error of a script.)
            self._is_broken = "READONLY" in f"{type(error).__name__.upper()} {error}"
            raise
        self.is_unanswered = self._is_broken = False
        return reply


class Wires:
    """The wire of this process. A forked child gets one of its own: two on one connection would mix their replies."""

    def __init__(self, client: redis.Redis | None) -> None:
        """`client`: None where there are no wires."""
        self._client = client
        self._wire: Wire | None = None
        self._pid = 0
        self._is_unanswered = False

    def get(self) -> Wire | None:
        """The wire, made when it is first needed."""
        if self._client is not None and self._pid != os.getpid():
            self._wire = Wire(self._client)
            self._pid = os.getpid()
        return self._wire

    @contextmanager
    def none_used(self) -> Iterator[None]:
        """Around a call that the client makes itself."""
        was_unanswered, self._is_unanswered = self._is_unanswered, True
        try:
            yield
        except (redis.ResponseError, redis.BusyLoadingError):
            self._is_unanswered = False
            raise
        except redis.ConnectionError as error:
            if "connecting to" in str(error):  # not sent
                self._is_unanswered = was_unanswered
            raise
        self._is_unanswered = False

    @property
    def is_unanswered(self) -> bool:
        """Whether a call was sent, or may have been, whose reply did not come."""
        wire = self._wire_if_made()
        return self._is_unanswered or (wire is not None and wire.is_unanswered)

    def reopen(self) -> None:
        """Have the wire, where there is one, open its connection anew at its next call."""
        wire = self._wire_if_made()
        if wire is not None:
            wire.reopen()

    def _wire_if_made(self) -> Wire | None:
        return self._wire if self._pid == os.getpid() else None
