"""Use the standard streams of a command. Any of them may be closed at the start, or closed later by a job."""

import errno
import logging
import os
import sys
from contextlib import suppress
from typing import TextIO

from redbike.conffile import unexpanded
from redbike.errors import OutputError

_WRITE_ERRORS = {
    *(errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.ENXIO, errno.ESTALE),
    *(errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN, errno.ETIMEDOUT),
}
"""The errors of a write to stdout, where stdout is a file, a terminal or a socket."""


class LogHandler(logging.StreamHandler[TextIO]):
    """Write log lines to stderr. If a job has closed stderr, these lines are lost, and nothing else fails."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Print the error to stderr if stderr is open."""
        with suppress(ValueError):
            super().handleError(record)


def prepare() -> None:
    """Open each of the descriptors 0, 1 and 2 that is closed, and set the encoding of stdout.

    The connection to Redis would otherwise get the number of a closed descriptor, and C code that prints would write
    into the connection. Text that is not UTF-8 in Redis is printed as the same bytes.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, descriptor)
            if opened != descriptor:
                os.close(opened)
    if sys.stderr is None:
        # With None as its file, print() writes to stdout.
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def output() -> TextIO:
    """Return the stream for data, stdout. Raise OutputError if it is closed."""
    if not _is_open(sys.stdout):
        raise OutputError("the output cannot be written: stdout is closed")
    return sys.stdout


def is_terminal() -> bool:
    """Return True if stdout is a terminal: then a person reads it."""
    return is_tty(sys.stdout)


def is_tty(stream: TextIO | None) -> bool:
    """Return True if this stream is open, and a terminal."""
    return stream is not None and _is_open(stream) and stream.isatty()


def flush() -> None:
    """Flush stdout, unless it is closed."""
    if _is_open(sys.stdout):
        sys.stdout.flush()


def fault(error: OSError) -> str | None:
    """Return the message for an error of writing to stdout. Return None for any other error."""
    is_write_error = error.errno in _WRITE_ERRORS and error.filename is None and _is_open(sys.stdout)
    return f"the output cannot be written: {error.strerror}" if is_write_error else None


def drop() -> None:
    """Discard the output that cannot be written: the interpreter would try to write it again when it exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print a line to stderr if stderr is open, behind what stdout has so far: both may lead to the same file."""
    with suppress(OSError):  # the next flush raises it again
        flush()
    if _is_open(sys.stderr):
        with suppress(OSError):
            sys.stderr.write(f"{unexpanded(text)}\n")
            sys.stderr.flush()


def _is_open(stream: TextIO | None) -> bool:
    return stream is not None and not getattr(stream, "closed", False)
