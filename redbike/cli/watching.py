"""The terminal of the live view: its screen, keys and signals. However the view ends, it is given back as it was."""

import logging
import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Protocol, Self

from redbike import streams
from redbike.looking.answer import Asked
from redbike.looking.live import View
from redbike.looking.plain import Line
from redbike.looking.watcher import Watcher

if TYPE_CHECKING:
    from redbike.bike import Redbike

# The other screen of the terminal, no cursor, no line breaks at the right edge.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_KEYS = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[Z": "tab",
    "\t": "tab",
    "\x1b": "escape",
    **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~"), "home"),
    **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"), "end"),
    **dict.fromkeys(("\r", "\n"), "enter"),
    **dict.fromkeys(("\x7f", "\b"), "backspace"),
}
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO.|\x1b\[?[0-9;?]*$|.", re.DOTALL)


class Painter(Protocol):
    """An object that turns a line into text with colours."""

    def painted(self, line: Line) -> str:
        """Return one line, without a line break."""


def watch(bike: "Redbike", asked: Asked, heads: Sequence[str], interval_s: float, painter: Painter) -> None:
    """Show the live view until q. Ctrl-C raises KeyboardInterrupt, and SIGTERM ends the process with 143.

    `heads`: the names of the columns of the worker.
    """
    with Terminal() as terminal, _quiet(), Watcher(bike, asked, interval_s, terminal.wake) as watcher:
        view = View(asked, heads)
        while True:
            if watcher.crash is not None:
                raise watcher.crash
            columns, height = terminal.size()
            lines = view.lines(watcher.snapshot, watcher.fault, columns, height)
            watcher.on_screen = view.on_screen
            terminal.show([painter.painted(line) for line in lines])
            for key in terminal.keys(interval_s):
                view.press(key)
                if view.is_over:
                    return


@contextmanager
def _quiet() -> Iterator[None]:
    """Write no log lines in this block: the view shows why Redis cannot be read."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class Terminal:
    """The terminal of stdin and stdout, on its other screen while the block of `with` lasts."""

    def __init__(self) -> None:
        self._input, self._output = sys.stdin.fileno(), streams.output()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._former = termios.tcgetattr(self._input)
        self._handlers: dict[int, object] = {}
        self._shown: list[str] = []
        self._size = (0, 0)
        self._rest = b""

    def __enter__(self) -> Self:
        handlers: dict[int, Callable[[int, FrameType | None], object]] = {
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
            signal.SIGWINCH: lambda _number, _frame: self.wake(),
            signal.SIGTSTP: self._suspend,
        }
        try:
            self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def wake(self) -> None:
        """End the wait of `keys`. May be called in a signal handler and in another thread."""
        with suppress(OSError):  # the pipe is full: the wait ends anyway
            os.write(self._wake, b"\0")

    def size(self) -> tuple[int, int]:
        """Return columns and lines."""
        size = os.get_terminal_size(self._output.fileno())
        if size != self._size:
            self._size, self._shown = (size.columns, size.lines), []
        return size.columns or 80, size.lines or 24

    def show(self, lines: list[str]) -> None:
        """Show these lines. Only lines that have changed are written."""
        pieces = [] if self._shown else ["\x1b[H\x1b[2J"]
        for number, line in enumerate(lines):
            if number >= len(self._shown) or self._shown[number] != line:
                pieces.append(f"\x1b[{number + 1};1H\x1b[0m{line}\x1b[0m\x1b[K")
        self._shown = lines
        if pieces:
            self._output.write("".join(pieces))
            self._output.flush()

    def keys(self, wait_s: float) -> Iterator[str]:
        """Wait for a key or for `wake`, so many seconds at most. Yield the keys: characters, or names such as `up`."""
        ready, _, _ = select.select([self._input, self._woken], [], [], wait_s)
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        if self._input not in ready:
            return
        read = os.read(self._input, 4096)
        if not read:
            raise KeyboardInterrupt  # the terminal is gone
        self._rest += read
        text = self._rest.decode("utf-8", "replace")
        self._rest = b""
        for match in _SEQUENCE.finditer(text):
            key = match.group()
            if match.end() == len(text) and len(key) > 1 and key not in _KEYS and key[-1] in "[;0123456789":
                self._rest = key.encode()  # a part of a key: the other part follows
            elif key in _KEYS or len(key) == 1:
                yield _KEYS.get(key, key)

    def _take(self) -> None:
        tty.setcbreak(self._input, termios.TCSANOW)
        self._output.write(_ENTER)
        self._output.flush()
        self._shown = []

    def _give_back(self) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            self._output.write(_LEAVE)
            self._output.flush()
        with suppress(termios.error):
            termios.tcsetattr(self._input, termios.TCSANOW, self._former)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Give the terminal back on Ctrl-Z, and take it again when the process goes on."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self.wake()
