"""A command on a pseudo-terminal, and what its screen shows: as much of a terminal as `redbike info -i` needs."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from nodes import eventually
from processes import environment

UP, DOWN, PAGE_DOWN, END, HOME, ESCAPE = "\x1b[A", "\x1b[B", "\x1b[6~", "\x1b[F", "\x1b[H", "\x1b"
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"
_PIECE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([^\x1b]+)|\x1b", re.DOTALL)


class Screen:
    """`redbike` with these arguments, on a new terminal."""

    def __init__(
        self, folder: Path, *arguments: str, columns: int = 80, lines: int = 24, env: dict[str, str] | None = None
    ) -> None:
        self.columns, self.lines = columns, lines
        self.written = b""
        self.pid, self.keyboard = pty.fork()
        if self.pid == 0:
            self._set_size(0)
            os.chdir(folder)
            command = [sys.executable, "-m", "redbike", *arguments]
            os.execve(sys.executable, command, {**environment(), "TERM": "xterm-256color", **(env or {})})
        self.settings_at_first = self.settings()
        self.code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.keyboard)

    def _set_size(self, descriptor: int) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", self.lines, self.columns, 0, 0))

    def settings(self) -> list[Any]:
        """Return the settings of the terminal."""
        return termios.tcgetattr(self.keyboard)

    def resize(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self._set_size(self.keyboard)

    def press(self, keys: str) -> None:
        os.write(self.keyboard, keys.encode())

    def read(self, wait_s: float = 0.0) -> bool:
        """Read what was written. Return False after the end of the command."""
        while select.select([self.keyboard], [], [], wait_s)[0]:
            try:
                piece = os.read(self.keyboard, 65536)
            except OSError:  # the other side is closed
                return False
            if not piece:
                return False
            self.written += piece
            wait_s = 0.0
        return True

    def end(self, within_s: float = 10.0) -> int:
        """Read until the command ends. Return its exit code; minus the number of a signal that killed it."""
        deadline = time.monotonic() + within_s
        while self.read(0.1):
            assert time.monotonic() < deadline, self.shown()
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def wait_for(self, text: str, within_s: float = 20.0) -> str:
        """Wait until the screen shows a text that fits this regular expression. Return the screen."""

        def fits() -> bool:
            self.read(0.02)
            return re.search(text, self.shown()) is not None

        try:
            eventually(fits, within_s)
        except AssertionError:
            raise AssertionError(f"{text!r} is not shown:\n{self.shown()}") from None
        return self.shown()

    def printed(self) -> list[str]:
        """Return the lines of a command that ends by itself, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.written.decode()).split("\r\n")[:-1]

    def shown(self) -> str:
        """Return what a live view shows now."""
        rows: dict[int, str] = {}
        row = 1
        for numbers, letter, text in _PIECE.findall(self.written.decode("utf-8", "replace")):
            if letter == "H":
                row = int(numbers.partition(";")[0] or 1)
                if numbers:
                    rows[row] = ""
            elif letter == "J":
                rows = {}
            elif text:
                rows[row] = rows.get(row, "") + text
        return "\n".join(rows.get(number, "") for number in range(1, self.lines + 1))
