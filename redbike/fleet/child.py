"""The side of a child: it says when it is ready, keeps its limits, and ends after the job in hand if the parent dies.

A worker without a parent may use it too, for `--burst`.
"""

import logging
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from redbike.bike import Redbike
from redbike.engine.outcome import TakenRun
from redbike.engine.signals import leave_to_main_thread
from redbike.fleet.link import EMPTY, HALTED, READY, REPLACE, Link
from redbike.fleet.memory import resident_mb
from redbike.fleet.page import Page
from redbike.logs import plain

_log = plain(logging.getLogger("redbike"))


class Limits(NamedTuple):
    """When a worker ends by itself. None: never."""

    max_jobs: int | None = None
    max_memory_mb: int | None = None
    burst: bool = False


class Child:
    """A worker or dispatcher, perhaps under a parent."""

    def __init__(self, link: Link | None, limits: Limits, stop: Callable[[], None]) -> None:
        """`stop` asks the loop to stop after the job in hand."""
        self._link = link
        self._limits = limits
        self._stop = stop
        self._channel = None if link is None else socket.socket(fileno=link.channel)
        self._page = None if link is None or link.page is None else Page(link.page)
        self._jobs = 0
        self._tag = ""
        self._is_empty = self._is_over = self._is_replaced = False

    @property
    def has_parent(self) -> bool:
        """Whether this process has a parent."""
        return self._link is not None

    def may_start(self, bike: Redbike) -> bool:
        """Clear the control key at the first start. Return False if a later start finds the prefix halted.

        A process that was replaced must not cancel a halt that others have not seen yet.
        """
        if self._link is None or self._link.clears:
            bike.clear_control()
        elif bike.is_halted():
            return False
        return True

    def start(self) -> None:
        """Tell the parent that this process is ready, and notice its death from now on."""
        if self._channel is not None:
            self._send(READY)
            threading.Thread(target=self._outlive, args=[self._channel], name="parent of redbike", daemon=True).start()

    def follow(self, bike: Redbike) -> None:
        """Follow the runs of the worker, as far as the limits and the parent need it."""
        consumer, limits = bike.consumer, self._limits
        if self._page is not None:
            consumer.present.on_run = self._on_run
        if limits.max_jobs is not None or limits.max_memory_mb is not None:
            # Not `stop`: a loop that is asked to stop gives up the report of its last run when Redis is away.
            consumer.leaves = self._is_used_up
        if limits.burst:
            consumer.on_idle = self._on_idle

    def end(self, is_asked_to_stop: bool) -> int:
        """Tell the parent why this process ends. Return its exit code."""
        self._is_over = True
        if self._channel is None:
            return 0
        if self._is_empty:
            self._send(EMPTY)
        elif is_asked_to_stop or self._is_replaced:
            return REPLACE
        else:
            self._send(HALTED)
        return 0

    def _send(self, sign: bytes) -> None:
        if self._channel is not None:
            with suppress(OSError):  # the parent has died
                self._channel.send(sign)

    def _on_run(self, run: TakenRun | None) -> None:
        assert self._page is not None
        if run is None:
            self._page.end()
            return
        ends_at = run.began_clock_s + run.timeout_s
        if run.tag == self._tag:
            self._page.extend(ends_at)
        else:
            self._page.begin(run.jobid, ends_at)
            self._tag = run.tag

    def _is_used_up(self) -> bool:
        """Return True after the last run of this process: it has done its jobs, or it has grown."""
        self._jobs += 1
        most_jobs, most_mb = self._limits.max_jobs, self._limits.max_memory_mb
        reason = ""
        if most_jobs is not None and self._jobs >= most_jobs:
            reason = f"{self._jobs} jobs done (--max-jobs)"
        elif most_mb is not None and (used_mb := resident_mb()) > most_mb:
            reason = f"uses {used_mb:.0f} MB, more than {most_mb} MB (--max-memory)"
        if reason:
            self._is_replaced = True
            _log.info("%s: a new process takes the place of this one", reason)
        return self._is_replaced

    def _on_idle(self) -> None:
        self._is_empty = True
        self._stop()

    def _outlive(self, channel: socket.socket) -> None:
        """Wait until the parent dies, and end this process then, after the job in hand."""
        leave_to_main_thread()
        with suppress(OSError):
            while channel.recv(16):
                pass
        main = threading.main_thread()
        if self._is_over or main.ident is None:
            return
        _log.warning("the parent process has died: this process ends, too")
        self._stop()
        # The signal ends a wait of the main thread.
        signal.pthread_kill(main.ident, signal.SIGTERM)
