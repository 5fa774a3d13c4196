"""One Lua script: its source out of lua/, and the ways to have a server run it, loaded and by its SHA-1."""

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, NamedTuple, cast

import redis

from redbike.wire import Packed, Wires

Text = str | bytes | float


class Part(NamedTuple):
    """Arguments of a command, as they are and packed."""

    arguments: list[bytes]
    packed: Packed

    @classmethod
    def of(cls, arguments: list[bytes]) -> "Part":
        return cls(arguments, Packed.of(arguments))


NOTHING = Part.of([])


class Script:
    """One file of lua/, and what a server calls it."""

    def __init__(self, name: str) -> None:
        self.source = resources.files("redbike").joinpath("lua", f"{name}.lua").read_text("utf-8")
        self.sha = ""

    def run(self, client: redis.Redis, keys: Sequence[bytes], args: Sequence[Text]) -> Any:
        """The script's reply, as redis-py gives it."""
        return self._loaded(
            lambda: client.script_load(self.source),
            lambda: client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args),
        )

    def run_prepared(
        self,
        client: redis.Redis,
        wires: Wires,
        keys: Part,
        more_keys: list[bytes],
        args: Part,
        more_args: list[bytes],
    ) -> Any:
        """The same, with what is packed already left as it is."""
        wire = wires.get()
        if wire is None or not wire.claim():
            return self.run(client, [*keys.arguments, *more_keys], [*args.arguments, *more_args])

        def call() -> object:
            return wire.call(*self._packed_call(keys, more_keys, args, more_args))

        def load() -> Any:
            # Over the wire as well: after a failover, the client's other connections may still lead to the old server.
            return wire.call(self._loading())

        try:
            return self._loaded(load, call)
        finally:
            wire.free()

    def run_many(
        self, client: redis.Redis, wires: Wires, calls: Sequence[tuple[Part, list[bytes], list[bytes]]]
    ) -> None:
        """Run it for each of these keys, more keys and arguments, in one round trip; the replies are not told.

        Raises NoScriptError where the server forgets it in the middle.
        """
        wire = wires.get()
        if wire is None or not wire.claim():
            self.sha = self.load(client)
            pipeline = client.pipeline(transaction=False)
            for keys, more_keys, args in calls:
                all_keys = [*keys.arguments, *more_keys]
                pipeline.execute_command("EVALSHA", self.sha, len(all_keys), *all_keys, *args)
            pipeline.execute()
            return
        try:
            self.sha = _text(cast(bytes | str, wire.call(self._loading())))
            wire.call_many([self._packed_call(keys, more_keys, NOTHING, args) for keys, more_keys, args in calls])
        finally:
            wire.free()

    def _packed_call(self, keys: Part, more_keys: list[bytes], args: Part, more_args: list[bytes]) -> list[Packed]:
        count = keys.packed.arguments + len(more_keys)
        head = Packed.of([b"EVALSHA", self.sha.encode(), b"%d" % count])
        return [head, keys.packed, Packed.of(more_keys), args.packed, Packed.of(more_args)]

    def _loading(self) -> Packed:
        return Packed.of([b"SCRIPT", b"LOAD", self.source.encode()])

    def load(self, client: redis.Redis) -> str:
        """Make the server know the script; its SHA-1, by which to call it."""
        return _text(client.script_load(self.source))

    def _loaded(self, load: Callable[[], bytes | str], call: Callable[[], object]) -> object:
        for _ in range(3):
            if self.sha:
                try:
                    return call()
                except redis.exceptions.NoScriptError:
                    pass
            # A restarted or flushed server has forgotten it.
            self.sha = _text(load())
        return call()


def _text(reply: bytes | str) -> str:
    return reply if isinstance(reply, str) else reply.decode()
