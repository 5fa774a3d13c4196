"""Run a dispatcher and a worker in threads of a program, until it is asked to stop.

`RedbikeCronScheduler.start` is the main loop of a program, as RQ's own scheduler is. So it ends on SIGINT and SIGTERM,
and this module is the only part of the library that sets handlers for them. It restores the former handlers.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from redbike.bike import Redbike

_LOOK_S = 0.5


class _Asked(BaseException):
    """A signal has asked the program to stop."""


def run(bike: Redbike, stop: threading.Event) -> None:
    """Dispatch and work until `stop` is set, a signal comes, or the prefix is halted. Raise what a loop raises.

    In the main thread, SIGINT and SIGTERM stop it. The run in hand is ended first.
    """
    errors: list[BaseException] = []

    def keep(loop: Callable[[], object]) -> None:
        try:
            loop()
        except BaseException as error:
            errors.append(error)
        finally:
            stop.set()  # one loop without the other is of no use

    threads = [threading.Thread(target=keep, args=(loop,), daemon=True) for loop in (bike.dispatch, bike.work)]
    try:
        with _ending_on_signals():
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                threads[0].join(_LOOK_S)
                threads[1].join(_LOOK_S if not threads[0].is_alive() else 0)
    except (_Asked, KeyboardInterrupt):
        pass
    finally:
        stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if errors:
        raise errors[0]


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
