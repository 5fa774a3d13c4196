"""The standard streams of a command, none of which need be open: at the start, or after a job has closed them."""

import errno
import logging
import os
import sys
from contextlib import suppress
from typing import TextIO

from redbike.errors import OutputError

_WHAT_WRITING_ENDS_IN = {
    *(errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.ENXIO, errno.ESTALE),
    *(errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN, errno.ETIMEDOUT),
}
"""Where stdout is a file, a terminal or a socket."""


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes to stderr. Where a job has closed that, lines are lost, and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say what went wrong, where there is anywhere to say it."""
        with suppress(ValueError):
            super().handleError(record)


def prepare() -> None:
    """Make sure of the three descriptors, and that what was not UTF-8 in Redis goes out as the bytes that it was.

    Else the connection to Redis is given the number of a closed one, and whatever prints below Python writes there.
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
        # A print to no stream goes to stdout.
        sys.stderr = os.fdopen(2, "w", errors="backslashreplace", closefd=False)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def output() -> TextIO:
    """Where data goes. Raises OutputError where that is closed."""
    if not _is_open(sys.stdout):
        raise OutputError("the output cannot be written: stdout is closed")
    return sys.stdout


def flush() -> None:
    """Write out what was printed, unless stdout is closed."""
    if _is_open(sys.stdout):
        sys.stdout.flush()


def fault(error: OSError) -> str | None:
    """Why the output cannot be written, where that is what the error says."""
    is_one = error.errno in _WHAT_WRITING_ENDS_IN and error.filename is None and _is_open(sys.stdout)
    return f"the output cannot be written: {error.strerror}" if is_one else None


def drop() -> None:
    """Let go of output that nobody can take: the interpreter would try once more as it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Say something on stderr, where that is open."""
    if _is_open(sys.stderr):
        with suppress(OSError):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


def _is_open(stream: TextIO | None) -> bool:
    return stream is not None and not getattr(stream, "closed", False)
