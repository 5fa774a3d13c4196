"""Run a dispatcher and a worker in threads of a program, until it is asked to stop.

`RedbikeCronScheduler.start` is the main loop of a program, as RQ's own scheduler is. So it ends on SIGINT and SIGTERM,
and this module is the only part of the library that sets handlers for them. It restores the former handlers.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from redbike.bike import Redbike
from redbike.bridges.running import Running

_LOOK_S = 0.5


class _Asked(BaseException):
    """A signal has asked the program to stop."""


def run(bike: Redbike, stop: threading.Event) -> bool:
    """Dispatch and work until `stop` is set, a signal comes, or the prefix is halted. Raise what a loop raises.

    Clear an earlier halt at the start, as the commands do. In the main thread, SIGINT and SIGTERM stop it. The run in
    hand is ended first. Return True if the loops have ended without a signal: `stop` is set, or the prefix is halted.
    Raise ServerError if Redis is away at the start.
    """
    running = Running(stop_event=stop)
    has_ended = False
    try:
        with _ending_on_signals():
            if bike.reach():
                bike.clear_control()
                running.start(bike)
            while running.has_started and not running.is_over:
                running.wait(_LOOK_S)
            has_ended = running.has_started
    except (_Asked, KeyboardInterrupt):
        pass
    finally:
        running.stop()
    if running.failure is not None:
        raise running.failure
    return has_ended


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, _ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _ask(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _Asked
