"""Lock a file or a folder. The kernel releases the lock when the process ends, even if it is killed."""

import fcntl
import os
from pathlib import Path
from typing import ClassVar, Self


class FileLock:
    """A lock of flock(2) on a file or folder. It belongs to the open file. Child processes share that file."""

    _open: ClassVar[set["FileLock"]] = set()

    def __init__(self, path: Path, flags: int = os.O_RDONLY) -> None:
        fd = os.open(path, flags, 0o600)
        # If the program has closed its stdin, this descriptor could be 0. A started process replaces 0 by /dev/null.
        self.fd: int | None = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(fd)
        self._open.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_open(self) -> bool:
        """Return True until the lock is released or abandoned."""
        return self.fd is not None

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock, alone or shared, without waiting. Return False if another open file holds it."""
        assert self.fd is not None, "a closed lock must not be used again"
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Unlock and close the file, also for processes that share the open file, such as a child before its exec."""
        if self.fd is not None:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.abandon()

    def abandon(self) -> None:
        """Close the file in this process. Other processes that share the open file keep the lock."""
        if self.fd is not None:
            fd, self.fd = self.fd, None
            os.close(fd)
            self._open.discard(self)

    @classmethod
    def abandon_all(cls) -> None:
        """Abandon every open lock of this process."""
        for lock in list(cls._open):
            lock.abandon()


# A forked child is not a user. It closes its copies of the locks, or it would hold them after its parent died.
os.register_at_fork(after_in_child=FileLock.abandon_all)
