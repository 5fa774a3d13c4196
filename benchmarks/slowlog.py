"""How long the server took for each call of each script, read from its own log of slow commands (SLOWLOG)."""

import hashlib
from importlib import resources
from types import TracebackType
from typing import Any, Self

_ROOM = 1_000_000  # commands; those inside a script are logged, too


def script_names() -> dict[str, str]:
    """SHA-1, by which a script is called, to the name of its file."""
    files = [file for file in resources.files("redbike").joinpath("lua").iterdir() if file.name.endswith(".lua")]
    return {hashlib.sha1(file.read_bytes()).hexdigest(): file.name.removesuffix(".lua") for file in files}


class Recording:
    """Every script call within the `with` block. The time is the server's, without any waiting in line."""

    def __init__(self, server: Any, extra: dict[str, str] | None = None, least_ms: float = 0.0) -> None:
        """`extra`: SHA-1 and name of scripts that are not the checkout's. Calls below `least_ms` are not kept."""
        self._server = server
        self.least_ms = least_ms
        self._names = {**script_names(), **(extra or {})}
        self._ms: dict[str, list[float]] = {}

    def __enter__(self) -> Self:
        self._server.config_set("slowlog-max-len", _ROOM)
        self._server.config_set("slowlog-log-slower-than", int(1000 * self.least_ms))
        self._server.slowlog_reset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.config_set("slowlog-log-slower-than", -1)
        for entry in self._server.slowlog_get(_ROOM):
            words = entry["command"].split(b" ", 2)
            if words[0] == b"EVALSHA":
                name = self._names.get(words[1].decode(), "another")
                self._ms.setdefault(name, []).append(entry["duration"] / 1000)
        self._server.slowlog_reset()

    def ms_of(self, name: str) -> list[float]:
        """Milliseconds of each call of this script."""
        return self._ms.get(name, [])
