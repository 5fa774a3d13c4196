"""A worker at a terminal: Ctrl-C finishes the running job, and does not end the processes that the job has started.

A terminal sends SIGINT to every process of the foreground group. So a program that a job starts by `subprocess` begins
with SIGINT ignored, unless it chooses its own signals. Elsewhere, such as under systemd, nothing is changed.
"""

import functools
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any


def is_in_front() -> bool:
    """Return True if this process is in the foreground group of a terminal."""
    try:
        return os.isatty(sys.stdin.fileno()) and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):  # no stdin, a closed stdin, no controlling terminal
        return False


def shield_children() -> None:
    """Start the programs of `subprocess` with SIGINT ignored. Only for the main thread, which handles signals.

    Does not cover `os.system` and `os.spawn…`. A process that the job forks has the handler of the worker.
    """
    start = subprocess.Popen.__init__

    @functools.wraps(start)
    def start_shielded(self: Any, *args: Any, **kwargs: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            start(self, *args, **kwargs)
            return
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            start(self, *args, **kwargs)
        finally:
            signal.signal(signal.SIGINT, handler)

    subprocess.Popen.__init__ = start_shielded  # type: ignore[method-assign]


def say(line: str) -> None:
    """Write a line to stderr from a signal handler, which may interrupt another write: past the buffer."""
    with suppress(AttributeError, OSError, ValueError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="backslashreplace"))
