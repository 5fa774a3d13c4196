"""Tell systemd that a process is ready, what it does, and that it is alive: the protocol of sd_notify.

Without NOTIFY_SOCKET, as in a terminal, nothing is sent. The signs of life come from the loop: a loop that is stuck
sends none, and systemd restarts the process.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Self

from redbike.engine.life import SignOfLife
from redbike.engine.present import PresentRun
from redbike.engine.signals import leave_to_main_thread
from redbike.logs import printable

_STATUS_EVERY_S = 5.0
_LOOKS_PER_WATCHDOG = 4
_STUCK_AFTER = 0.5  # of the time of the watchdog
_LONG_S = 10.0  # an idle loop asks Redis more often than this
_MOST_QUEUES_NAMED = 10


class Notifier:
    """The way to the service manager."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        """`address`: the path of its socket, or an abstract name after `@`; empty for none.

        `watchdog_s`: within so many seconds, the manager expects a sign of life. None: it expects none.
        """
        self.watchdog_s = watchdog_s
        self._address = b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address.startswith(("/", "@")) else None
        self._is_ready = self._is_stopping = False
        self.every_s = min(_STATUS_EVERY_S, (watchdog_s or _STATUS_EVERY_S * _LOOKS_PER_WATCHDOG) / _LOOKS_PER_WATCHDOG)
        """How often to send a sign of life, seconds."""
        self._next_at = 0.0

    @classmethod
    def take(cls, environment: MutableMapping[str, str], has_parent: bool = False) -> "Notifier":
        """Return the notifier of this process. Jobs do not inherit the variables. A child leaves it to its parent."""
        address, wanted_s, pid = (
            environment.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        if has_parent:
            return cls()
        is_ours = pid in ("", str(os.getpid())) and wanted_s.isascii() and wanted_s.isdigit() and int(wanted_s) > 0
        return cls(address, int(wanted_s) / 1_000_000 if is_ours else None)

    @property
    def is_on(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """Tell that the process is ready. Repeated calls do nothing."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Tell that the process is about to end. Repeated calls do nothing. A signal handler may call this."""
        if not self._is_stopping:
            self._is_stopping = True
            self._send("STOPPING=1", "STATUS=stopping after the present run")

    def alive(self, status: str, is_well: bool = True) -> None:
        """Tell what the process does, and that it is alive if `is_well`."""
        lines = ["WATCHDOG=1"] if is_well and self.watchdog_s is not None else []
        self._send(*lines, *([] if self._is_stopping else [f"STATUS={status}"]))

    def alive_if_due(self, status: Callable[[], str]) -> None:
        """Tell the same, unless it was told a short time ago."""
        if self.is_on and time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + self.every_s
            self.alive(status())

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None and lines:
            # Do not wait: a manager that does not read must not stop the loop. The next sign of life comes soon.
            with suppress(OSError):
                self._socket.sendto("\n".join(lines).encode(errors="replace"), socket.MSG_DONTWAIT, self._address)


class LoopNotes:
    """Tells the manager of one loop, from a thread, because a long job or an outage of Redis holds the loop.

    The loop is stuck if it neither waits for Redis nor runs a job. Then the thread sends no sign of life.
    """

    def __init__(self, notifier: Notifier, life: SignOfLife, what: str, present: PresentRun | None = None) -> None:
        """`what`: what the loop does. `present`: the present run of a worker."""
        self._notifier = notifier
        self._life = life
        self._what = what
        self._present = present
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Tell that the process is ready: the calling thread is about to run the loop."""
        if self._notifier.is_on:
            self._life.begin()
            self._notifier.ready(self._what)
            thread = threading.Thread(target=self._tell, name="notifier of redbike", daemon=True)
            with suppress(RuntimeError):  # the system allows no further thread: the manager restarts the process
                thread.start()
                self._thread = thread
        return self

    def __exit__(self, *_: object) -> None:
        """Tell that the process is about to end."""
        self._notifier.stopping()
        self._ends.set()
        if self._thread is not None:
            self._thread.join()
        self._notifier.close()

    def _tell(self) -> None:
        leave_to_main_thread()
        while True:
            stuck_s = 0.0 if self._is_in_a_run() else self._life.own_work_s()
            watchdog_s = self._notifier.watchdog_s
            is_well = watchdog_s is None or stuck_s <= _STUCK_AFTER * watchdog_s
            self._notifier.alive(self._status(stuck_s), is_well)
            if self._ends.wait(self._notifier.every_s):
                return

    def _is_in_a_run(self) -> bool:
        return self._present is not None and self._present.running is not None

    def _status(self, stuck_s: float) -> str:
        status, present = self._what, self._present
        if present is not None:
            status += f": {present.runs:,} run{'' if present.runs == 1 else 's'}"
            run = present.run
            if run is not None:
                elapsed_s = round(run.elapsed_s())
                status += f", in a run for {elapsed_s} s" if self._is_in_a_run() else f", last {elapsed_s} s ago"
        waiting_s = self._life.waiting_s()
        if stuck_s > _LONG_S:
            status += f"; has not called Redis for {stuck_s:.0f} s"
        elif waiting_s > _LONG_S and not self._is_in_a_run():
            status += f"; waiting for Redis for {waiting_s:.0f} s"
        return status


def named(doing: str, queues: list[str]) -> str:
    """Return what a loop does with these queues, in one line."""
    more = len(queues) - _MOST_QUEUES_NAMED
    names = ", ".join(queues[:_MOST_QUEUES_NAMED]) + (f" and {more} more" if more > 0 else "")
    return printable(f"{doing} {names}")
