"""Waits that a signal ends at once."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """A signal handler has ended an interruptible wait. Nothing else raises this."""


class InterruptibleWait:
    """A wait that a signal handler of the same thread may cut short. Threads may share an object.

    Python restarts an interrupted system call after the handler has run, so a handler that only sets a flag would
    leave an idle process waiting. Nothing but waiting happens here, so an exception from a handler breaks nothing.
    """

    def __init__(self) -> None:
        self._waiting: set[int] = set()  # threads

    def take(self, wait: Callable[[], T]) -> T | None:
        """Return what `wait` returns, or None if a handler ended it. A wait within a wait ends with the outer wait."""
        thread = threading.get_ident()
        is_inner = thread in self._waiting
        try:
            try:
                self._waiting.add(thread)
                return wait()
            finally:
                if not is_inner:
                    self._waiting.discard(thread)
        except Interrupted:
            if is_inner:
                raise
            return None

    def sleep(self, seconds: float) -> None:
        """Sleep, unless a signal handler ends the wait."""
        self.take(partial(time.sleep, seconds))

    def interrupt(self) -> None:
        """End the wait of this thread, if there is one. Signal handlers call this.

        The wait of another thread cannot be cut short, because no exception can be raised there. It ends by itself
        within seconds.
        """
        thread = threading.get_ident()
        if thread in self._waiting:
            self._waiting.discard(thread)
            raise Interrupted

    def restore(self) -> None:
        """Let `interrupt` end the wait of this thread again. For a hook that runs within that wait."""
        self._waiting.add(threading.get_ident())
