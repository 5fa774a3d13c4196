"""One Lua script: read its source from lua/, and call it by its SHA-1."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import redis

from redbike.server.connection import Argument, Packed, ScriptConnection, pack, unpack

_LUA = f"{os.path.dirname(__file__)}/lua"  # noqa: PTH120 - the loader takes text
_PARTS = {"turn": ("_end", "_begin"), **dict.fromkeys(("place", "unset", "pause", "hold"), ("_memo",))}
_TRIES = 3  # a server may be flushed between loading and calling


def _read(path: str) -> bytes:
    # The loader of this module reads it, also out of a zip. importlib.resources takes longer than a call of Redis.
    loader: Any = __spec__.loader
    data: bytes = loader.get_data(path)
    return data


def source_of(name: str) -> bytes:
    """Return the source of a script: the parts that all scripts share, and its file."""
    parts = ("_keys", "_common", *_PARTS.get(name, ()), name)
    texts = [_read(f"{_LUA}/{part}.lua") for part in parts]
    # Each part is a function inside the part before it. Lua makes every function again in each call. It finds variables
    # of the outer function at once, but for variables of the same function it searches a list of all its variables.
    return b"\nreturn (function()\n".join(texts) + b"\nend)()" * (len(parts) - 1)


def sha_of(source: bytes) -> bytes:
    """Return the name by which a server knows a script."""
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()


class Script:
    """One file of lua/, after the head that all scripts share. The file is read when this object is made."""

    def __init__(self, name: str, connection: ScriptConnection, common: Packed) -> None:
        """Read the file. `common` holds the keys that every script gets first."""
        self.source = source_of(name)
        self.sha = sha_of(self.source)
        self._head = Packed([b"EVALSHA", self.sha])
        self._connection = connection
        self._common = common

    def run(self, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        """Run the script and return its reply.

        The call uses the script connection. It uses the client on a Cluster, or if another thread uses the connection.
        """
        number = len(self._common.arguments)
        for key in keys:
            number += len(key.arguments) if type(key) is Packed else 1
        connection = self._connection
        opened = connection.claim()
        if opened is None:
            return self._run_by_client(number, [self._common, *keys, *args])
        try:
            command = pack([self._head, b"%d" % number, self._common, *keys, *args])
            for _ in range(_TRIES):
                try:
                    return connection.call(opened, command)
                except redis.exceptions.NoScriptError:
                    # A new, restarted or flushed server. The script is loaded over the same connection: after a
                    # failover, other connections may still lead to the old primary.
                    connection.call(opened, pack([b"SCRIPT", b"LOAD", self.source]))
            return connection.call(opened, command)
        finally:
            opened.lock.release()

    def _run_by_client(self, number: int, keys_and_args: Sequence[Argument]) -> Any:
        client = self._connection.client
        # The client of a Cluster finds the node if the command is a str and the number of keys an int.
        command = ("EVALSHA", self.sha, number, *unpack(keys_and_args))
        with self._connection.none_used():
            for _ in range(_TRIES):
                try:
                    return client.execute_command(*command)
                except redis.exceptions.NoScriptError:
                    client.script_load(self.source)
            return client.execute_command(*command)
