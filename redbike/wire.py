"""Commands packed by hand and sent on a connection of their own: for the few calls that every single job costs.

redis-py makes, secures and mends the connection, and reads the replies. What is saved is the packing of arguments that
are the same in every call, and the way to a pool and back. RESP: the Redis serialization protocol specification.
"""

import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import redis


class Packed(NamedTuple):
    """Arguments of a command, ready to be sent."""

    arguments: int  # how many
    raw: bytes

    @classmethod
    def of(cls, arguments: Iterable[bytes]) -> "Packed":
        """These arguments, packed."""
        parts = [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
        return cls(len(parts), b"".join(parts))


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

    def call(self, *parts: Packed) -> object:
        """Send one command, made of these parts in order, and read its reply. For whoever has claimed the wire."""
        self._send_all([parts])
        try:
            reply: object = self._read()
        except redis.ResponseError as error:
            self._answered(error)
            raise
        self._answered(None)
        return reply

    def call_many(self, commands: Sequence[Sequence[Packed]]) -> None:
        """Send commands together and read all their replies; the first error among these is raised in the end."""
        self._send_all(commands)
        first_error: redis.ResponseError | None = None
        for _ in commands:
            try:
                self._read()
            except redis.ResponseError as error:
                first_error = first_error or error
        self._answered(first_error)
        if first_error is not None:
            raise first_error

    def _send_all(self, commands: Sequence[Sequence[Packed]]) -> None:
        if self._is_broken:
            # Sending would connect by itself, but to where the primary was, without asking the Sentinels. And a reply
            # that came too late to be read must not be taken for the next one.
            self._connection.disconnect()
            self._connection.connect()
        self._is_broken = True
        self._send([b"".join([_command(parts) for parts in commands])])
        self.is_unanswered = True

    def _answered(self, error: redis.ResponseError | None) -> None:
        self.is_unanswered = False
        # A primary that has become a replica stays one: elsewhere, or on another connection, is its successor.
        # (Redis 6.2 says so within the error of a script.)
        self._is_broken = error is not None and "READONLY" in f"{type(error).__name__.upper()} {error}"


def _command(parts: Sequence[Packed]) -> bytes:
    count = sum([part.arguments for part in parts])
    return b"*%d\r\n" % count + b"".join([part.raw for part in parts])


class Wires:
    """The wire of this process. A forked child gets one of its own: two on one connection would mix their replies."""

    def __init__(self, client: redis.Redis | None) -> None:
        """`client`: None where there are no wires."""
        self._client = client
        self._wire: Wire | None = None
        self._pid = 0

    def get(self) -> Wire | None:
        """The wire, made when it is first needed."""
        if self._client is not None and self._pid != os.getpid():
            self._wire = Wire(self._client)
            self._pid = os.getpid()
        return self._wire

    def get_if_made(self) -> Wire | None:
        """The wire, where this process has needed one."""
        return self._wire if self._pid == os.getpid() else None
