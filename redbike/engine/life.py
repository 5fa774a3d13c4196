"""The sign of life of a loop: since when it waits for Redis, or does its own work.

A loop that waits is well, however long Redis is away. A loop that does its own work should call Redis again soon.
"""

import threading
import time


class SignOfLife:
    """Set by the retry policy around each call of Redis, also around waits. Other threads only read it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._state = False, time.monotonic()  # whether it waits, and since when: read and written as one

    def begin(self) -> None:
        """Begin: the calling thread runs the loop. Calls of other threads are not noted."""
        self._thread = threading.get_ident()
        self._state = False, time.monotonic()

    def own_work_s(self) -> float:
        """Return how long the loop has not called Redis, seconds; 0 while it waits for an answer."""
        is_waiting, since = self._state
        return 0.0 if is_waiting else time.monotonic() - since

    def waiting_s(self) -> float:
        """Return how long the loop has been waiting for an answer, seconds; 0 while it does its own work."""
        is_waiting, since = self._state
        return time.monotonic() - since if is_waiting else 0.0

    def __enter__(self) -> None:
        """Note that a call of Redis begins."""
        if self._thread == threading.get_ident():
            self._state = True, time.monotonic()

    def __exit__(self, *_: object) -> None:
        """Note that the call has ended."""
        if self._thread == threading.get_ident():
            self._state = False, time.monotonic()
