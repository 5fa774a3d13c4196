"""What a process does on the signals that end it, kept through whatever its jobs do to it; and which one has come.

Reads handlers by `_signal`, as `signal` does itself: after each job the comparison takes a microsecond so, and ten
otherwise.
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


class Handlers:
    """The handlers that somebody installed for these signals before a loop began, while the loop lasts.

    Does nothing outside the main thread, which alone has to do with signals, and leaves alone what has no handler.
    """

    def __init__(self, log: logging.Logger) -> None:
        self.noticed = 0
        """How many of these signals have come."""
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
        """Put back what the job has replaced or blocked."""
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
                "job %r has replaced or blocked the handling of %s: it is put back, now and after every job, for by"
                " these signals this process is ended",
                jobid,
                ", ".join(changed),
            )
        # Last: one that was held back comes at this moment.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(self._numbers) - self._blocked)

    def _noticing(self, handler: Handler) -> Handler:
        def notice(number: int, frame: FrameType | None) -> Any:
            self.noticed += 1
            return handler(number, frame)

        return notice
