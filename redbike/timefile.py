"""The time file: up to when dispatching has got, in whole seconds of Unix time, so that a restart catches up.

Owns reading that one integer and replacing it so that nobody ever sees half of it.
Never reads a clock: what to do without a time is the caller's decision.
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

END_OF_TIME = 253_402_300_800  # the year 10000, where datetime ends: a larger number is garbage, not a time

_LONGEST = 100  # bytes
_MOST_LINKS = 40  # as Linux has it


class TimeFile:
    """The file at `path`; relative to the folder that is current when it is read or written."""

    def __init__(self, path: str | Path, log: logging.Logger) -> None:
        self.path = Path(path)
        self._log = log
        self._last_written_s: int | None = None

    def read(self) -> int | None:
        """Return the Unix time in the file, or None: without a word where there is no file,
        with a warning where it cannot be read or holds anything but such a time."""
        try:
            content = _content(_target_of(self.path))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._log.warning("time file %s: cannot be read (%s); it is ignored", self.path, error.strerror)
            return None
        with contextlib.suppress(ValueError):
            unix_time_s = int(content)
            if 0 <= unix_time_s < END_OF_TIME:
                return unix_time_s
        self._log.warning(
            "time file %s: %r is not a Unix time in whole seconds; it is ignored", self.path, content[:40]
        )
        return None

    def write(self, unix_time_s: int) -> None:
        """Replace the file's content in one step; do nothing where this object wrote the same value last.

        The file keeps its permissions; a symlink stays, and what it points to is replaced, unless the symlink is
        another user's: in a shared folder, it could have us replace any file of ours.
        There is no fsync: it would hold up the dispatcher every second, and what a power cut can do to
        the file, `read` survives. Raises TimeFileError, and then leaves the old file and nothing beside it.
        """
        if unix_time_s == self._last_written_s:
            return
        with self._replacement(b"%d" % unix_time_s) as (replacement, target):
            replacement.replace(target)
        self._last_written_s = unix_time_s

    def check_writable(self) -> None:
        """Raise TimeFileError where `write` would: no folder, no permission, no space, not a regular file.

        The next `write` is made in any case, for the file may have been removed since the last.
        """
        self._last_written_s = None
        with self._replacement(b"0"):
            pass

    @contextlib.contextmanager
    def _replacement(self, content: bytes) -> Iterator[tuple[Path, Path]]:
        """A finished file beside the target, and the target; the new file is gone afterwards unless moved.

        Its random name keeps several dispatchers, of one machine or of several on one file system, apart.
        """
        try:
            target = _target_of(self.path)
            old = _status_of(target)
            replacement = target.with_name(f".redbike-{secrets.token_hex(8)}.tmp")
            try:
                _create(replacement, content, old)
                yield replacement, target
            finally:
                # It was moved, or never made; a disk that will not let go of it has failed before this.
                with contextlib.suppress(OSError):
                    replacement.unlink()
        except OSError as error:
            raise TimeFileError(
                f"time file {self.path}: cannot be written ({error.strerror}); "
                "make its folder writable, or name another file as timefile in the conf"
            ) from error


def _target_of(path: Path) -> Path:
    """Where the symlinks lead that this path ends in. Raises OSError where one is another user's."""
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
    """The beginning of a regular file, which is more than a time takes."""
    # A named pipe that somebody put there would have us wait for its writer.
    descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        return os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)


def _status_of(target: Path) -> os.stat_result | None:
    """The status of the file to be replaced, None where there is none yet."""
    try:
        status = target.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        # Run by root, a rename onto /dev/null would succeed and take the device from the whole machine.
        raise OSError(errno.EINVAL, "Not a regular file")
    return status


def _create(path: Path, content: bytes, old: os.stat_result | None) -> None:
    """Create a file with the permissions, and where we may the owner, of the old one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        if old is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
        file.write(content)
