"""Read and write the time file: the time up to which jobs were dispatched, so that a restart can catch up.

The file holds one integer, in whole seconds of Unix time. A write replaces the file, so that no reader sees half of it.
This module never reads a clock. If there is no time, the code that called it decides.
"""

import contextlib
import errno
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from redbike.errors import TimeFileError

END_OF_TIME = 253_402_300_800  # the year 10000, the end of datetime: a larger number is not a time

_LONGEST = 100  # bytes
_MOST_LINKS = 40  # the limit of Linux


class TimeFile:
    """The file at `path`. A relative path starts in the folder that is current at each read or write.

    The path `/dev/null` means that no time is kept: there is no file to read, and nothing is written.
    """

    def __init__(self, path: str | Path, log: logging.Logger) -> None:
        """Remember the path, and the log for warnings. Do not touch the file."""
        self.path = Path(path)
        self._log = log
        self._keeps_none = str(path) == os.devnull
        self._last_written_s: int | None = None

    def read(self) -> int | None:
        """Return the Unix time in the file, or None if there is no file.

        Log a warning and return None if the file cannot be read or does not hold a Unix time in whole seconds.
        """
        if self._keeps_none:
            return None
        try:
            content = _content(_target_of(self.path))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._log.warning("time file %s: cannot be read (%s); the file is ignored", self.path, error.strerror)
            return None
        with contextlib.suppress(ValueError):
            unix_time_s = int(content)
            if 0 <= unix_time_s < END_OF_TIME:
                return unix_time_s
        self._log.warning(
            "time file %s: %r is not a Unix time in whole seconds; the file is ignored", self.path, content[:40]
        )
        return None

    def write(self, unix_time_s: int) -> None:
        """Replace the content of the file in one step. Do nothing if this object wrote the same value last.

        The file keeps its permissions. A symlink stays, and its target is replaced. A symlink of another user raises
        an error, because in a shared folder it could make us replace any of our files.
        There is no fsync: it would delay the dispatcher every second, and `read` ignores a file that a power cut has
        damaged. Raise TimeFileError if the file cannot be written. Then the old file stays, and the new file is
        removed.
        """
        if self._keeps_none or unix_time_s == self._last_written_s:
            return
        with self._replacement(b"%d" % unix_time_s) as (replacement, target):
            replacement.replace(target)
        self._last_written_s = unix_time_s

    def check_writable(self) -> None:
        """Raise TimeFileError if `write` would: no folder, no permission, no space, not a regular file.

        The next `write` writes even the same value, because the file may have been removed since the last `write`.
        """
        self._last_written_s = None
        if self._keeps_none:
            return
        with self._replacement(b"0"):
            pass

    @contextlib.contextmanager
    def _replacement(self, content: bytes) -> Iterator[tuple[Path, Path]]:
        """Yield the path of a new file with this content, and the path of the target, in one folder.

        Remove the new file afterwards, unless it was moved. Its random name cannot collide with that of another
        dispatcher, on this machine or on another machine with the same file system.
        """
        try:
            target = _target_of(self.path)
            old = _status_of(target)
            replacement = target.with_name(f".redbike-{secrets.token_hex(8)}.tmp")
            try:
                _create(replacement, content, old)
                yield replacement, target
            finally:
                # The file was moved or never created. If the disk cannot remove it, an earlier step has failed too.
                with contextlib.suppress(OSError):
                    replacement.unlink()
        except OSError as error:
            raise TimeFileError(
                f"time file {self.path}: cannot be written ({error.strerror}); "
                "make its folder writable, or set timefile in the conf to another file"
            ) from error


def _target_of(path: Path) -> Path:
    """Follow the symlinks at the end of this path. Raise OSError if a symlink belongs to another user."""
    for _ in range(_MOST_LINKS):
        try:
            status = path.lstat()
        except FileNotFoundError:
            break
        if not stat.S_ISLNK(status.st_mode):
            break
        if status.st_uid not in (os.geteuid(), 0):
            raise OSError(errno.EPERM, f"It is a symlink of another user, {status.st_uid}")
        path = path.parent / path.readlink()
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return Path(os.path.realpath(path.parent)) / path.name


def _content(target: Path) -> bytes:
    """Return the first bytes of a regular file: more than a time needs. Raise OSError for any other file."""
    # Do not block: if the file is a named pipe, opening it would wait for its writer.
    descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        return os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)


def _status_of(target: Path) -> os.stat_result | None:
    """Return the status of the file to replace, or None if there is no file yet."""
    try:
        status = target.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        # If root runs this, a rename onto /dev/null would succeed, and the whole machine would lose the device.
        raise OSError(errno.EINVAL, "Not a regular file")
    return status


def _create(path: Path, content: bytes, old: os.stat_result | None) -> None:
    """Create a file with the permissions of the old file, and with its owner if we may set the owner."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        if old is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
        file.write(content)
