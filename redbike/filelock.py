"""A lock on a file or a folder that the kernel drops when its process ends, however it ends."""

import fcntl
import os
from pathlib import Path
from typing import ClassVar, Self


class FileLock:
    """A lock of flock(2) on a file or folder. It belongs to the open file, which fork and exec may share."""

    _open: ClassVar[set["FileLock"]] = set()

    def __init__(self, path: Path, flags: int = os.O_RDONLY) -> None:
        fd = os.open(path, flags, 0o600)
        # In a program that closed its stdin, this could be 0, which a started process replaces by /dev/null.
        self.fd: int | None = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(fd)
        self._open.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_open(self) -> bool:
        return self.fd is not None

    def try_acquire(self, *, shared: bool = False) -> bool:
        assert self.fd is not None, "a closed lock is not used again"
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Unlock for whoever shares the open file, say a child between fork and exec, and close it here."""
        if self.fd is not None:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Close it here; whoever shares the open file keeps the lock."""
        if self.fd is not None:
            fd, self.fd = self.fd, None
            os.close(fd)
            self._open.discard(self)

    @classmethod
    def abandon_all(cls) -> None:
        for lock in list(cls._open):
            lock.abandon()


# A forked child is not a user, and must not keep the place of a parent that died: it drops its copies.
os.register_at_fork(after_in_child=FileLock.abandon_all)
