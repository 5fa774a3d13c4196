"""A page of shared memory, in which a worker notes its present run for the parent.

The worker writes the note before the run begins. So the parent can read it whatever the job does, and a note costs
neither a system call nor a wake-up of the parent.
"""

import math
import mmap
import os
import struct
import tempfile
from typing import NamedTuple

_HEAD = struct.Struct("@dQQ")  # end of the lease, number of the run, length of the job id
_BYTES = mmap.PAGESIZE
_MOST_BYTES_OF_ID = 1000
_NONE = math.inf


class Note(NamedTuple):
    """The present run of a worker."""

    number: int
    jobid: str
    lease_ends_at: float  # monotonic clock, which all processes of a machine share


def open_page() -> int:
    """Make a page without a run. Return its file descriptor, which a child may inherit."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("redbike")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _BYTES)
    os.pwrite(descriptor, _HEAD.pack(_NONE, 0, 0), 0)
    return descriptor


class Page:
    """One side of a page."""

    def __init__(self, descriptor: int) -> None:
        """Map the page. The descriptor may be closed afterwards."""
        self._memory = mmap.mmap(descriptor, _BYTES)
        self._number = 0

    def begin(self, jobid: str, lease_ends_at: float) -> None:
        """Note a run that is about to begin."""
        encoded = jobid.encode(errors="replace")[:_MOST_BYTES_OF_ID]
        self._number += 1
        self._memory[_HEAD.size : _HEAD.size + len(encoded)] = encoded
        _HEAD.pack_into(self._memory, 0, lease_ends_at, self._number, len(encoded))

    def extend(self, lease_ends_at: float) -> None:
        """Note that the lease of the present run ends later."""
        struct.pack_into("@d", self._memory, 0, lease_ends_at)

    def end(self) -> None:
        """Note that there is no run."""
        struct.pack_into("@d", self._memory, 0, _NONE)

    def read(self) -> Note | None:
        """Return the present run. Return None without a run, and if the note is just being written."""
        head = self._memory[: _HEAD.size]
        lease_ends_at, number, length = _HEAD.unpack(head)
        jobid = self._memory[_HEAD.size : _HEAD.size + min(length, _MOST_BYTES_OF_ID)]
        if lease_ends_at == _NONE or self._memory[: _HEAD.size] != head:
            return None
        return Note(number, jobid.decode(errors="replace"), lease_ends_at)

    def close(self) -> None:
        """Unmap the page."""
        self._memory.close()
