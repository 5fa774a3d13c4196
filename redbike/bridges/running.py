"""A dispatcher and a worker in two threads of a process that belongs to another program."""

import logging
import threading
from collections.abc import Callable

from redbike.bike import Redbike
from redbike.errors import ServerError
from redbike.logs import RateLimitedLog, plain

_LOG = plain(logging.getLogger("redbike.bridges"))
_AGAIN_S = 1.0


class Running:
    """The threads of one `Redbike`. An exception in a thread is logged once, and kept in `failure`.

    If one loop ends, the other is asked to stop, because one without the other is of no use.
    """

    def __init__(self, prepare: Callable[[], object] | None = None, stop_event: threading.Event | None = None) -> None:
        """Start nothing yet. `prepare` is called in a thread, before the loops; it may need Redis.

        `stop_event`: set to end the loops. The `Redbike` must have it, too.
        """
        self.stop_event = stop_event or threading.Event()
        self.failure: BaseException | None = None
        self._prepare = prepare
        self._threads: list[threading.Thread] = []
        self._limited_log = RateLimitedLog(_LOG)

    def start(self, bike: Redbike) -> None:
        """Start the threads. If Redis is away, they wait for it."""
        self._threads = [
            threading.Thread(target=self._loop, args=(loop, name), name=f"redbike {name}", daemon=True)
            for loop, name in ((bike.work, "worker"), (bike.dispatch, "dispatcher"))
        ]
        first = threading.Thread(target=self._start, name="redbike start", daemon=True)
        self._threads.append(first)
        first.start()

    @property
    def has_started(self) -> bool:
        """True after `start`."""
        return bool(self._threads)

    @property
    def is_over(self) -> bool:
        """True if both loops have ended: after a halt, a stop or a failure."""
        return bool(self._threads) and not any(thread.is_alive() for thread in self._threads)

    def wait(self, seconds: float) -> None:
        """Wait up to `seconds` for a loop to end. A signal handler may end the wait by an exception."""
        for thread in reversed(self._threads):
            if thread.is_alive():
                thread.join(seconds)
                return

    def stop(self, within_s: float | None = None) -> bool:
        """Ask the loops to stop, and wait for them, up to `within_s` seconds each (None: without a limit).

        Return True if they have ended.
        """
        self.stop_event.set()
        for thread in reversed(self._threads):
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(within_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _start(self) -> None:
        if self._prepare is None or self._run(self._prepare, "start"):
            for thread in self._threads[:-1]:
                thread.start()

    def _loop(self, loop: Callable[[], object], name: str) -> None:
        try:
            self._run(loop, name)
        finally:
            self.stop_event.set()

    def _run(self, function: Callable[[], object], name: str) -> bool:
        """Call a function, again while Redis is away. Return True if it ended without an exception."""
        while not self.stop_event.is_set():
            try:
                function()
            except ServerError as error:
                self._limited_log.report(name, f"{error}; trying again")
                self.stop_event.wait(_AGAIN_S)
            except BaseException as error:  # also SystemExit, which would end this thread alone
                if self.failure is None:
                    self.failure = error
                    _LOG.error("%s: %s: %s", name, type(error).__name__, error)
                self.stop_event.set()
            else:
                return True
        return False
