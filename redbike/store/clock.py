"""Know the server's time without a call of Redis each time."""

import time
from collections.abc import Callable

_GOOD_FOR_S = 2.0  # the server's clock may step
_GOOD_WHEN_IDLE_FOR_S = 20.0  # no job waits for its time
_CLOCKS_DIFFER_S = 0.5  # a larger difference: this machine slept, or somebody set its clock


class ServerClock:
    """The server's clock: the time in the latest reply, plus the time since then by this machine's monotonic clock."""

    def __init__(self, ask: Callable[[], float]) -> None:
        """Know no time yet. `ask` asks the server for its time, in Unix seconds."""
        self._ask = ask
        self._seen: tuple[float, float, float] | None = None  # the server's time, and ours: monotonic and wall
        self.is_awaited = True
        """Whether a job waits for its time, as far as is known."""

    def read(self, server_time: float) -> float:
        """Remember the time in a reply, and return it."""
        self._seen = (server_time, time.monotonic(), time.time())
        return server_time

    def now(self) -> float:
        """Return the server's time, Unix seconds. Ask the server only if no recent reply has told the time."""
        if self._seen is not None:
            server_time, monotonic, wall = self._seen
            elapsed = time.monotonic() - monotonic
            difference = abs(time.time() - wall - elapsed)
            good_for_s = _GOOD_FOR_S if self.is_awaited else _GOOD_WHEN_IDLE_FOR_S
            if elapsed < good_for_s and difference < _CLOCKS_DIFFER_S:
                return server_time + elapsed
        return self.read(self._ask())
