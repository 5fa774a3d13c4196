"""One Lua script: its source out of lua/, and the ways to have a server run it, by its SHA-1."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import redis

from redbike.wire import Template, Wires, pack

_TRIES = 3  # a server may be flushed between loading and calling


class Script:
    """One file of lua/, behind the head that all share."""

    def __init__(self, name: str) -> None:
        # Each part is a function in the one before it. Lua makes every function anew in each call, and finds what it
        # uses of the function around it at once, but what it uses of its own by walking along all its variables.
        self.source = b"%b\nreturn (function()\n%b\nreturn (function()\n%b\nend)() end)()" % tuple(
            resources.files("redbike").joinpath("lua", f"{part}.lua").read_bytes()
            for part in ("_keys", "_common", name)
        )
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def run(self, client: redis.Redis, wires: Wires, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        """The script's reply, as redis-py gives it."""
        return self.prepare([*keys, *args], len(keys)).run(client, wires, ())

    def prepare(self, keys_and_args: Sequence[bytes | None], keys: int) -> "PreparedCall":
        """A call for many times, of which only those keys and arguments change that are None here."""
        return PreparedCall(self, Template([b"EVALSHA", self.sha, b"%d" % keys, *keys_and_args]))


class PreparedCall:
    """A call of a script that is packed but for what changes."""

    def __init__(self, script: Script, template: Template) -> None:
        self._script, self._template = script, template

    def run(self, client: redis.Redis, wires: Wires, changing: Sequence[bytes]) -> Any:
        """The script's reply to a call with these keys and arguments, in the order in which they stand in it.

        Over the wire, where there is one and nobody else is using it; else by the client, which packs by itself.
        """
        wire = wires.get()
        if wire is None or not wire.claim():
            return self._run_unwired(client, wires, changing)
        try:
            command = self._template.packed(changing)
            for _ in range(_TRIES):
                try:
                    return wire.call(command)
                except redis.exceptions.NoScriptError:
                    # A new, restarted or flushed server. Loaded over the wire as well: after a failover, other
                    # connections may still lead to the old one.
                    wire.call(pack([b"SCRIPT", b"LOAD", self._script.source]))
            return wire.call(command)
        finally:
            wire.free()

    def _run_unwired(self, client: redis.Redis, wires: Wires, changing: Sequence[bytes]) -> Any:
        # By its name as text, and the number of keys as a number, a Cluster's client knows what the command does.
        _, sha, keys, *rest = self._template.arguments(changing)
        command = ("EVALSHA", sha, int(keys), *rest)
        with wires.none_used():
            for _ in range(_TRIES):
                try:
                    return client.execute_command(*command)
                except redis.exceptions.NoScriptError:
                    client.script_load(self._script.source)
            return client.execute_command(*command)
