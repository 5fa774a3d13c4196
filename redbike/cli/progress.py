"""Show on a terminal how far a long command has come: a bar of the library rich if it is installed, else a count."""

import importlib
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, TextIO

from redbike.streams import is_tty

_SILENT_S = 1.0  # a shorter command shows nothing
_PAUSE_S = 0.1  # between two pictures


class Progress:
    """The progress of a command, on stderr. Does nothing if stderr is not a terminal."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = is_tty(self._stream)
        self._next_at = clock() + _SILENT_S
        self._done_word, self._total = "", 0
        self._picture: _Bar | _Count | None = None

    def begin(self, done_word: str, total: int = 0) -> None:
        """Begin to count rows that are `done_word`. `total`: how many there are; 0 if nobody knows."""
        self.clear()
        self._done_word, self._total = done_word, total

    def __call__(self, count: int) -> None:
        """Show the number of rows that are done, if it is time."""
        if not self._is_terminal or self._clock() < self._next_at:
            return
        if self._picture is None:
            self._picture = _picture(self._stream)
        self._picture.draw(self._done_word, count, self._total)
        self._next_at = self._clock() + _PAUSE_S

    def clear(self) -> None:
        """Remove the picture, so that a line can be printed."""
        if self._picture is not None:
            self._picture.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


class _Count:
    """A line with a count."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_drawn = False

    def draw(self, done_word: str, count: int, total: int) -> None:
        self._write(f"\r{count} of {total} {done_word}\x1b[K" if total else f"\r{count} {done_word}\x1b[K")
        self._is_drawn = True

    def clear(self) -> None:
        if self._is_drawn:
            self._write("\r\x1b[K")
            self._is_drawn = False

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            self._stream.write(text)
            self._stream.flush()


class _Bar:
    """A bar of rich."""

    def __init__(self, stream: TextIO) -> None:
        # By name: the type checker has no need of rich.
        progress, console = importlib.import_module("rich.progress"), importlib.import_module("rich.console")
        self._progress: Any = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            console=console.Console(file=stream),
            auto_refresh=False,
            transient=True,
        )
        self._task: Any = self._progress.add_task("")
        self._is_drawn = False

    def draw(self, done_word: str, count: int, total: int) -> None:
        if not self._is_drawn:
            self._progress.start()
            self._is_drawn = True
        self._progress.update(self._task, description=done_word, completed=count, total=total or None, refresh=True)

    def clear(self) -> None:
        if self._is_drawn:
            self._progress.stop()
            self._is_drawn = False


def _picture(stream: TextIO) -> _Bar | _Count:
    try:
        return _Bar(stream)
    except ImportError:
        return _Count(stream)
