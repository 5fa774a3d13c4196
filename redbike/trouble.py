"""Reporting a trouble that lasts: at once, and then once a minute, however often it is met."""

import logging
import time

_EVERY_S = 60.0


class Troubles:
    """The troubles that one process has with things that stay broken until somebody mends them."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, float] = {}  # what -> when it was last reported, monotonic

    def report(self, what: str, error: str) -> None:
        """Log the error, unless the same thing was reported within the last minute."""
        now = time.monotonic()
        if now - self._last.get(what, -_EVERY_S) >= _EVERY_S:
            self._last[what] = now
            self._log.error("%s: %s", what, error)
