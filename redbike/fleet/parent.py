"""The loop of the parent: start children, replace those that die or hang, pass signals on, and end with the last child.

It sleeps until a child ends or says something, until a signal comes, or until the next start or look is due.
"""

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from redbike.engine.signals import STOP_SIGNALS
from redbike.fleet.link import NOT_MENDED, REPLACE
from redbike.fleet.notify import Notifier
from redbike.fleet.slot import Slot
from redbike.logs import plain

_OF_A_TERMINAL = signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP
_ASK_AGAIN_S = 0.5

_log = plain(logging.getLogger("redbike"))


class Parent:
    """The parent of several children. It starts them group by group, so that a mistake is reported once."""

    def __init__(self, groups: Sequence[Sequence[Slot]], in_front: bool, notifier: Notifier) -> None:
        """Start the slots of a group when those of the groups before it are ready.

        `in_front`: this process and its children are the foreground group of a terminal. `notifier`: tells systemd that
        this loop is alive. It does not tell of the children, because this loop replaces those that die.
        """
        self._waiting = [list(group) for group in groups if group]
        self._slots: list[Slot] = []
        self._in_front = in_front
        self._notifier = notifier
        self._selector = selectors.DefaultSelector()
        self._is_stopping = False
        self._code = 0
        self._ask_again_at: float | None = None

    def run(self) -> int:
        """Run the children until all of them have ended. Return the exit code."""
        with ExitStack() as stack:
            stack.callback(self._selector.close)
            stack.callback(self._notifier.close)
            woken = stack.enter_context(_signals())
            self._selector.register(woken, selectors.EVENT_READ)
            while True:
                self._start_due()
                if not self._has_any():
                    return self._code
                self._notify()
                for key, _ in self._selector.select(self._wait_s()):
                    if isinstance(key.data, Slot):
                        if not key.data.listen():
                            self._selector.unregister(key.fileobj)
                    else:
                        self._hear(woken.recv(4096))
                self._bury()
                if self._ask_again_at is not None and time.monotonic() >= self._ask_again_at:
                    self._ask_again_at = None
                    self._send(signal.SIGTERM)

    def _notify(self) -> None:
        """Tell systemd when all children are ready, and that this loop is alive."""
        if not self._waiting and all(slot.was_ready for slot in self._slots):
            self._notifier.ready(self._status())
        self._notifier.alive_if_due(self._status)

    def _status(self) -> str:
        number = len(self._slots) + sum(map(len, self._waiting))
        return f"{sum(slot.is_running for slot in self._slots)} of {number} processes are ready"

    def _has_any(self) -> bool:
        return any(slot.process is not None or slot.starts_at is not None for slot in self._slots)

    def _start_due(self) -> None:
        if self._waiting and not self._is_stopping and all(slot.was_ready for slot in self._slots):
            group = self._waiting.pop(0)
            self._slots += group
            for slot in group:
                slot.starts_at = time.monotonic()
        for slot in self._slots:
            if slot.starts_at is not None and time.monotonic() >= slot.starts_at:
                slot.start(clears=not any(one.was_ready for one in self._slots))
                if slot.channel is not None:
                    self._selector.register(slot.channel, selectors.EVENT_READ, slot)

    def _wait_s(self) -> float | None:
        """Return how long nothing is due, seconds. End children that are in a run for too long."""
        times = [slot.starts_at for slot in self._slots if slot.starts_at is not None]
        times += [slot.stop_late_run() for slot in self._slots]
        if self._ask_again_at is not None:
            times.append(self._ask_again_at)
        if self._notifier.is_on:
            times.append(time.monotonic() + self._notifier.every_s)
        soonest = min(times, default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest - time.monotonic())

    def _hear(self, numbers: bytes) -> None:
        for number in dict.fromkeys(numbers):
            if number not in STOP_SIGNALS:
                continue
            self._stop()
            if self._in_front and number in _OF_A_TERMINAL:
                # The terminal has sent it to the children, too. A second SIGINT would give up their jobs. If the signal
                # came from elsewhere, this SIGTERM is the first that they hear.
                self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
            else:
                self._send(number)

    def _stop(self) -> None:
        self._is_stopping = True
        self._notifier.stopping()
        for slot in self._slots:
            slot.starts_at = None

    def _send(self, number: int) -> None:
        for slot in self._slots:
            slot.send(number)

    def _bury(self) -> None:
        """Take note of the children that have ended, and plan new ones."""
        for slot in self._slots:
            if (code := slot.code()) is not None:
                if slot.channel is not None and slot.channel in self._selector.get_map():
                    self._selector.unregister(slot.channel)
                slot.clear()
                self._note_end(slot, code)
        if os.getpid() == 1:
            self._bury_orphans()

    def _note_end(self, slot: Slot, code: int) -> None:
        if self._is_stopping:
            return
        if code == NOT_MENDED or (code > 0 and code != REPLACE and not slot.was_ready):
            # As without a parent: a user who starts a command sees its mistake at once.
            if len(self._slots) > 1:
                _log.error("%s has ended with exit code %d: all processes end", slot.name, code)
            self._code = code
        elif slot.is_halted:
            _log.info("%s was halted: all processes end", slot.name)
        else:
            slot.plan_next(code)
            return
        self._stop()
        self._send(signal.SIGTERM)

    def _bury_orphans(self) -> None:
        """Remove ended processes that the kernel gave to this process, because it is the first process of a container.

        Look before each wait: the exit codes of children belong to their slots.
        """
        ours = {slot.process.pid for slot in self._slots if slot.process is not None}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in ours:
                return  # a child that has ended meanwhile: its signal wakes the loop again
            os.waitpid(found.si_pid, os.WNOHANG)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """In this block, signals do nothing but write their numbers to the socket that is returned."""
    woken, wakes = socket.socketpair()
    with woken, wakes:
        woken.setblocking(False)
        wakes.setblocking(False)
        former_fd = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        former = {number: signal.signal(number, lambda *_: None) for number in (*STOP_SIGNALS, signal.SIGCHLD)}
        try:
            yield woken
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(former_fd)
