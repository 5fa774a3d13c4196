"""One Lua script: its source out of lua/, and the ways to have a server run it, by its SHA-1."""

import hashlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import redis

from redbike.wire import Template, Wires, pack

_TRIES = 3  # a server may be flushed between loading and calling


class Script:
    """One file of lua/."""

    def __init__(self, name: str) -> None:
        self.source = resources.files("redbike").joinpath("lua", f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def run(self, client: redis.Redis, wires: Wires, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        """The script's reply, as redis-py gives it."""
        command = [b"EVALSHA", self.sha, b"%d" % len(keys), *keys, *args]
        return self._run(client, wires, lambda: pack(command), lambda: command)

    def prepare(self, keys: Sequence[bytes | None], args: Sequence[bytes | None]) -> "PreparedCall":
        """A call for many times, of which only those keys and arguments change that are None here."""
        return PreparedCall(self, Template([b"EVALSHA", self.sha, b"%d" % len(keys), *keys, *args]))

    def _run(
        self,
        client: redis.Redis,
        wires: Wires,
        packed: Callable[[], bytes],
        arguments: Callable[[], Sequence[bytes]],
    ) -> Any:
        """Over the wire, where there is one and nobody else is using it; else by the client, which packs by itself."""
        wire = wires.get()
        if wire is None or not wire.claim():
            command = ("EVALSHA", *arguments()[1:])  # by its name as text a Cluster's client knows what it does
            return self._loading(lambda: client.execute_command(*command), lambda: client.script_load(self.source))
        try:
            sent = packed()
            # Loaded over the wire as well: after a failover, other connections may still lead to the old server.
            return self._loading(lambda: wire.call(sent), lambda: wire.call(pack([b"SCRIPT", b"LOAD", self.source])))
        finally:
            wire.free()

    def _loading(self, call: Callable[[], object], load: Callable[[], object]) -> object:
        for _ in range(_TRIES):
            try:
                return call()
            except redis.exceptions.NoScriptError:
                load()  # a new, restarted or flushed server does not know it
        return call()


class PreparedCall:
    """A call of a script that is packed but for what changes."""

    def __init__(self, script: Script, template: Template) -> None:
        self._script, self._template = script, template

    def run(self, client: redis.Redis, wires: Wires, changing: Sequence[bytes]) -> Any:
        """The script's reply to a call with these keys and arguments, in the order in which they stand in it."""
        template = self._template
        return self._script._run(client, wires, lambda: template.packed(changing), lambda: template.arguments(changing))
