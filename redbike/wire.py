"""Commands packed by hand and sent on a connection of their own: for the few calls that every single job costs.

redis-py makes, secures and mends the connection, and reads the replies. What is saved is the packing of arguments that
are the same in every call, and the way to a pool and back. RESP: the Redis serialization protocol specification.
"""

from collections.abc import Iterable
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
    """A client's own connection. For one thread; every call raises what redis-py raises."""

    def __init__(self, dedicated: redis.Redis) -> None:
        """`dedicated`: a client with a single connection, which nobody else uses."""
        self._client = dedicated  # which would close the connection, were it let go of
        connection: Any = dedicated.connection
        self._send, self._read = connection.send_packed_command, connection.read_response

    def call(self, *parts: Packed) -> object:
        """Send one command, made of these parts in order, and read its reply."""
        count = sum(part.arguments for part in parts)
        self._send([b"*%d\r\n" % count + b"".join(part.raw for part in parts)])
        reply: object = self._read()
        return reply
