"""Keep the handlers of the signals that end a process, even if a job replaces them. Count the signals that have come.

This module reads handlers with `_signal`, as the module `signal` itself does. So the comparison after each job takes
one microsecond instead of ten.
"""

import _signal  # type: ignore[import-not-found]
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)

Handler = Callable[[int, FrameType | None], Any]


def leave_to_main_thread() -> None:
    """Block the stop signals in this thread. Otherwise one may interrupt this thread, and the main thread waits on.

    Python runs handlers in the main thread, but only the thread that the kernel has chosen leaves its system call.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


class Handlers:
    """Keep, during a loop, the handlers that were installed for these signals before the loop began.

    Do nothing outside the main thread, because only that thread handles signals. A signal without a handler gets none.
    """

    def __init__(self, log: logging.Logger) -> None:
        self.noticed = 0
        """The number of these signals that have come."""
        self._log = log
        self._former: dict[int, Handler] = {}
        self._numbers: list[int] = []
        self._ours: list[Handler] = []
        self._blocked: set[int] = set()
        self._has_warned = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._blocked = _signal.pthread_sigmask(signal.SIG_BLOCK, ())
            for number in STOP_SIGNALS:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._former[number] = handler
                    self._numbers.append(number)
                    self._ours.append(self._noticing(handler))
                    signal.signal(number, self._ours[-1])
        return self

    def __exit__(self, *_: object) -> None:
        for number, ours in zip(self._numbers, self._ours, strict=True):
            if _signal.getsignal(number) is ours:
                signal.signal(number, self._former[number])
        self._numbers, self._ours = [], []

    def restore(self, jobid: str) -> None:
        """Restore the handlers that the job replaced, and unblock the signals that it blocked."""
        if not self._numbers:
            return
        blocked = _signal.pthread_sigmask(signal.SIG_BLOCK, ())
        if [_signal.getsignal(number) for number in self._numbers] == self._ours and blocked == self._blocked:
            return
        changed = []
        for number, ours in zip(self._numbers, self._ours, strict=True):
            if _signal.getsignal(number) is not ours or (number in blocked and number not in self._blocked):
                changed.append(signal.Signals(number).name)
                signal.signal(number, ours)
        if changed and not self._has_warned:
            self._has_warned = True
            self._log.warning(
                "job %r replaced or blocked the handler of %s: it is restored, now and after every job, because these"
                " signals end this process",
                jobid,
                ", ".join(changed),
            )
        # Do this last, because a signal that was blocked comes at this moment.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(self._numbers) - self._blocked)

    def _noticing(self, handler: Handler) -> Handler:
        def notice(number: int, frame: FrameType | None) -> Any:
            self.noticed += 1
            return handler(number, frame)

        return notice
