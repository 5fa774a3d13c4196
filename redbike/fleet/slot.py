"""The place of one child: its process, its channel, when it starts next, and whether it hangs."""

import logging
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from redbike.fleet.link import EMPTY, HALTED, READY, REPLACE, VARIABLE, Link
from redbike.fleet.page import Page, open_page
from redbike.logs import plain

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 30.0
_HEALTHY_AFTER_S = 60.0
_KILL_AFTER_S = 10.0
"""How long a worker that hangs may take to end after SIGTERM."""

_log = plain(logging.getLogger("redbike"))


class Slot:
    """The place of one child."""

    def __init__(self, name: str, command: Callable[[bool], Sequence[str]], kill_late_s: float | None = None) -> None:
        """`command` returns the command of the child. Its argument is True until a child has been ready.

        `kill_late_s`: how long a run may go on after the end of its lease, seconds. None: without a limit.
        """
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.starts_at: float | None = None  # monotonic; None: no start is planned
        self.is_ready = self.was_ready = False
        self.signs = b""
        """What the present or latest child has said."""
        self._command = command
        self._kill_late_s = kill_late_s
        self._page: Page | None = None
        self._failures = 0
        self._began_at = 0.0
        self._late: tuple[int, float] | None = None  # the number of the late run, and when to kill the child
        self._is_killed = False

    @property
    def is_halted(self) -> bool:
        """Whether the latest child ended because of a halt."""
        return HALTED in self.signs

    @property
    def is_running(self) -> bool:
        """Whether the present child is ready."""
        return self.process is not None and self.is_ready

    def start(self, clears: bool) -> None:
        """Start a child. If the system allows none, plan another try."""
        self.starts_at = None
        self.is_ready = self._is_killed = False
        self.signs, self._late, self._began_at = b"", None, time.monotonic()
        ours, theirs = socket.socketpair()
        page = None if self._kill_late_s is None else open_page()
        try:
            link = Link(theirs.fileno(), page, clears, self.name)
            self.process = subprocess.Popen(
                self._command(not self.was_ready),
                env={**os.environ, VARIABLE: link.text()},
                pass_fds=[theirs.fileno(), *([] if page is None else [page])],
            )
        except OSError as error:
            ours.close()
            self._plan(f"cannot be started ({error.strerror})")
        else:
            ours.setblocking(False)
            self.channel = ours
            self._page = None if page is None else Page(page)
        finally:
            theirs.close()
            if page is not None:
                os.close(page)

    def listen(self) -> bool:
        """Read what the child has said. Return False if it will say nothing more."""
        assert self.channel is not None
        try:
            while signs := self.channel.recv(64):
                self.signs += signs
                self.is_ready = self.is_ready or READY in signs
                self.was_ready = self.was_ready or self.is_ready
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def send(self, number: int) -> None:
        """Send a signal to the child: SIGTERM in its place while the child cannot handle signals yet."""
        if self.process is not None:
            self.process.send_signal(number if self.is_ready else signal.SIGTERM)

    def code(self) -> int | None:
        """Return the exit code of a child that has ended, below 0 for a signal. Return None if it still runs."""
        return None if self.process is None else self.process.poll()

    def clear(self) -> None:
        """Make room for the next child, after the end of this one."""
        if self.channel is not None:
            self.listen()
            self.channel.close()
        if self._page is not None:
            self._page.close()
        self.process = self.channel = self._page = None

    def plan_next(self, code: int) -> None:
        """Plan the next start after an end that was not asked for. After a halt or an empty queue, plan none."""
        if code == 0 and (self.is_halted or EMPTY in self.signs):
            return
        if code == REPLACE or self._is_killed:
            self._failures = 0
            self.starts_at = time.monotonic()
            return
        self._plan(_ended(code))

    def _plan(self, what: str) -> None:
        now = time.monotonic()
        if now - self._began_at >= _HEALTHY_AFTER_S:
            self._failures = 0
        delay_s = min(_FIRST_DELAY_S * 2.0 ** min(self._failures, 16), _LONGEST_DELAY_S)
        self._failures += 1
        self.starts_at = now + delay_s
        _log.warning("%s %s: a new process starts in %g s", self.name, what, delay_s)

    def stop_late_run(self) -> float:
        """End a child that is in a run for too long. Return the time of the next look, monotonic."""
        if self._page is None or self._kill_late_s is None or self.process is None:
            return math.inf
        now, note = time.monotonic(), self._page.read()
        # A run that begins after this look is not late before the next look.
        next_at = now + max(1.0, self._kill_late_s)
        if note is None:
            self._late = None
            return next_at
        late_at = note.lease_ends_at + self._kill_late_s
        if now < late_at:
            self._late = None
            return min(late_at, next_at)
        if self._late is None or self._late[0] != note.number:
            _log.warning(
                "%s: job %r is still running %.4g s after the end of its lease (--kill-late): SIGTERM now, SIGKILL in"
                " %g s",
                *(self.name, note.jobid, now - note.lease_ends_at, _KILL_AFTER_S),
            )
            self.process.send_signal(signal.SIGTERM)
            self._late = note.number, now + _KILL_AFTER_S
        elif now >= self._late[1] and not self._is_killed:
            _log.error("%s: job %r did not end: SIGKILL; its run is lost", self.name, note.jobid)
            self._is_killed = True
            self.process.kill()
        return math.inf if self._is_killed else self._late[1]


def _ended(code: int) -> str:
    if code >= 0:
        return f"has ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
