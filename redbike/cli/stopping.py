"""Let the loops of a command end on a signal: at once when they wait, else after the running job."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from redbike.bike import Redbike
from redbike.cli.terminal import say
from redbike.engine.interruptible import Interrupted
from redbike.engine.signals import STOP_SIGNALS
from redbike.logs import printable
from redbike.resolve import import_the_rest

_FINALIZER_S = 0.01


class StopFlag:
    """A flag for a signal handler. Unlike an Event, it takes no lock, because the handler may interrupt its holder."""

    ends_waits = True

    def __init__(self, on_set: Callable[[], None] | None = None) -> None:
        """`on_set`: called when the flag is set, also from a signal handler."""
        self._set = False
        self._on_set = on_set

    def set(self) -> None:
        """Ask the loops to stop."""
        self._set = True
        if self._on_set is not None:
            self._on_set()

    def is_set(self) -> bool:
        """Return True after `set`."""
        return self._set


@contextmanager
def stopping(stop: StopFlag, bike: Redbike, at_terminal: bool = False) -> Iterator[None]:
    """In this block, a signal ends a wait at once, and stops the loop after the running job.

    At a terminal, a second Ctrl-C gives up the running job: it raises KeyboardInterrupt in it.
    """
    pid = os.getpid()

    def handle(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != pid:
            return  # a process that the job has forked: Ctrl-C at a terminal does not end it
        jobid = bike.consumer.running if at_terminal and number == signal.SIGINT else None
        if jobid is not None:
            if stop.is_set():
                say(f"redbike: giving up job {printable(repr(jobid))}")
                raise KeyboardInterrupt
            say(f"redbike: finishing job {printable(repr(jobid))}; press Ctrl-C again to give it up")
        stop.set()
        bike.interruptible_wait.interrupt()

    def send_again(unraisable: "sys.UnraisableHookArgs") -> None:
        # Python ran the handler inside a finalizer (`__del__`), which swallows every exception. So the wait goes on.
        # End it a moment later, when the finalizer is over.
        if unraisable.exc_type is Interrupted:
            bike.interruptible_wait.restore()
            threading.Timer(_FINALIZER_S, os.kill, (pid, signal.SIGTERM)).start()
        else:
            former_hook(unraisable)

    former = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    former_hook, sys.unraisablehook = sys.unraisablehook, send_again
    try:
        import_the_rest()  # takes a while: only now, when a signal no longer ends the process
        yield
    finally:
        sys.unraisablehook = former_hook
        for number, handler in former.items():
            signal.signal(number, handler)
