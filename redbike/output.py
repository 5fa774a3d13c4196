"""Read the output of a command line by line, with bounded memory: whatever the command writes, and however much."""

import fcntl
import os
import selectors
import struct
import termios
from collections.abc import Callable
from typing import IO, Self

_CHUNK_BYTES = 16_384
_MOST_LINE_BYTES = 2_000  # of one line; the rest of the line is counted, not kept
_MOST_TAIL_CHARS = 2_000
_TAIL_BYTES = 4 * _MOST_TAIL_CHARS
_MOST_LAST_CHARS = 160  # the history keeps 200 characters of an error, the exit code included


class Output:
    """The output of a command. It may be any bytes."""

    def __init__(self, pipe: IO[bytes], log: Callable[[str], None]) -> None:
        """`log`: receives each line, shortened, with escapes for bytes that are not UTF-8."""
        self.is_open = True
        """False after the last byte was read."""
        self._pipe, self._log = pipe, log
        self._selector = selectors.DefaultSelector()
        self._tail = b""
        self._line = bytearray()
        self._left_out = 0  # bytes of the present line

    def __enter__(self) -> Self:
        os.set_blocking(self._pipe.fileno(), False)
        self._selector.register(self._pipe, selectors.EVENT_READ)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pipe. A process in the background that writes to it later gets SIGPIPE."""
        if self._line or self._left_out:
            self._end_line()
        self._selector.close()
        self._pipe.close()

    @property
    def tail(self) -> str:
        """The last 2,000 characters at most."""
        return _text(self._tail).strip()[-_MOST_TAIL_CHARS:]

    @property
    def last_line(self) -> str:
        """The last line that is not blank, shortened."""
        line = self.tail.rpartition("\n")[2].strip()
        return line if len(line) <= _MOST_LAST_CHARS else f"{line[:_MOST_LAST_CHARS]}…"

    def unread_bytes(self) -> int:
        """Return how many bytes the pipe holds."""
        size: int
        [size] = struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(struct.calcsize("i"))))
        return size

    def read(self, wait_s: float) -> int:
        """Read a piece of the output; wait for it, so many seconds at most. Return its size; 0 if there was none."""
        if not self.is_open or not self._selector.select(wait_s):
            return 0
        try:
            chunk = os.read(self._pipe.fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if not chunk:
            self.is_open = False
            return 0
        self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._add(line)
            self._end_line()
        self._add(rest)
        return len(chunk)

    def _add(self, part: bytes) -> None:
        kept = part[: _MOST_LINE_BYTES - len(self._line)]
        self._line += kept
        self._left_out += len(part) - len(kept)

    def _end_line(self) -> None:
        text = _text(bytes(self._line)).rstrip("\r")
        self._log(f"{text}… ({self._left_out} bytes more)" if self._left_out else text)
        self._line.clear()
        self._left_out = 0


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
