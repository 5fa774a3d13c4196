"""The time that the server took for each call of each script, from its log of slow commands (SLOWLOG)."""

import hashlib
from importlib import resources
from types import TracebackType
from typing import Any, Self

_ROOM = 1_000_000  # commands; commands inside a script are logged, too


def script_names() -> dict[str, str]:
    """Return the file name of each script by the SHA-1 of its calls."""
    files = [file for file in resources.files("redbike.store").joinpath("lua").iterdir() if file.name.endswith(".lua")]
    return {hashlib.sha1(file.read_bytes()).hexdigest(): file.name.removesuffix(".lua") for file in files}


class Recording:
    """Every script call within the `with` block. Times are those of the server, without waiting for other calls."""

    def __init__(self, server: Any, extra: dict[str, str] | None = None, least_ms: float = 0.0) -> None:
        """Record also the scripts in `extra`, by SHA-1, but no calls below `least_ms`."""
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
        """Return the time of each call of this script, in milliseconds."""
        return self._ms.get(name, [])
