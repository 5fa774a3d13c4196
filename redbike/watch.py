"""A dispatcher's watch over the queues, for the workers: so that a fleet of idle workers need not look by itself.

It wakes an idle worker for jobs that other programs put into a queue without ringing, and all of them for a halt.
"""

import time
from collections.abc import Sequence

from redbike.scripts import Scripts

_VALID_S = 6  # how long workers rely on it
_RENEW_S = 3.0
_LOOK_EVERY_S = 1.0


class Watch:
    """One dispatcher's watch over the queues that its worker names."""

    def __init__(self, scripts: Scripts, queue_keys: Sequence[str]) -> None:
        self.queue_keys = list(dict.fromkeys(queue_keys))
        self._scripts = scripts
        self._looked_at = -float(_VALID_S)  # monotonic

    def look(self, stirring: bool | None = None) -> bool:
        """Wake workers where that is called for; whether the prefix is halted, as far as that was looked at.

        `stirring`: whether there is anything in the queues, or a signal; None: not known. Does nothing where that is
        not needed yet.
        """
        now = time.monotonic()
        since_s = now - self._looked_at
        if stirring or (stirring is None and since_s >= _LOOK_EVERY_S):
            self._looked_at = now
            return self._scripts.watch(self.queue_keys, _VALID_S)
        if since_s >= _RENEW_S:
            self._looked_at = now
            self._scripts.renew_watch(self.queue_keys, _VALID_S)
        return False

    def end(self, halted: bool) -> None:
        """Leave the queues to the workers, and wake these where the prefix is halted."""
        if halted:
            self._scripts.watch(self.queue_keys, _VALID_S)
        else:
            self._scripts.unwatch(self.queue_keys)
