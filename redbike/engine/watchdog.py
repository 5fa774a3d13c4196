"""Reports a run when it exceeds its timeout, and not only at its end: from a thread, because the job holds the loop."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from redbike.engine.outcome import TakenRun
from redbike.engine.signals import leave_to_main_thread

_SHORTEST_LOOK_S = 0.1


class Watchdog:
    """Watches the present run of a loop. Its thread starts with the first run, and wakes once per shortest timeout."""

    def __init__(self, shortest_s: float, report: Callable[[TakenRun], None]) -> None:
        """`shortest_s`: the shortest timeout of the loop's queues, seconds. `report`: called from the thread."""
        self._shortest_s = max(shortest_s, _SHORTEST_LOOK_S)
        self._report = report
        self._run: TakenRun | None = None
        self._reported: TakenRun | None = None
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, run: TakenRun | None) -> None:
        """Watch this run from now on, and no other. None: the loop has no run."""
        self._run = run
        if self._thread is None and run is not None:
            thread = threading.Thread(target=self._look, name="watchdog of redbike", daemon=True)
            with suppress(RuntimeError):  # the system allows no further thread: a late run is reported at its end
                thread.start()
                self._thread = thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        leave_to_main_thread()
        wait_s = self._shortest_s
        while not self._ends.wait(wait_s):
            # A run that begins after this moment does not exceed its timeout before the next look.
            wait_s = self._shortest_s
            run = self._run
            if run is None or run is self._reported:
                continue
            left_s = run.timeout_s - run.elapsed_s()
            if left_s > 0:
                wait_s = min(left_s, wait_s)
            else:
                self._reported = run
                self._report(run)
