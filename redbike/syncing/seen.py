"""Remember the job ids of a file in eight bytes each."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from hashlib import blake2b

from redbike.csvfile import Row
from redbike.store.text import encode


class Seen:
    """The job ids of a file. Add all of them first, then `sort`, then ask."""

    def __init__(self) -> None:
        self._digests = array("Q")

    def add(self, jobid: str) -> None:
        """Remember a job id."""
        self._digests.append(_digest(jobid))

    def sort(self) -> bool:
        """Prepare the answers. Return True if an id was added twice, or, very rarely, if it only seems so."""
        self._digests = array("Q", sorted(self._digests))
        digests = self._digests
        return any(digests[at] == digests[at + 1] for at in range(len(digests) - 1))

    def __contains__(self, jobid: str) -> bool:
        return self.count(jobid) > 0

    def count(self, jobid: str) -> int:
        """Return how often the id was added."""
        digest = _digest(jobid)
        return bisect_right(self._digests, digest) - bisect_left(self._digests, digest)


def repeated(rows: Iterable[Row], seen: Seen) -> tuple[Row, int] | None:
    """Return the first row of a job that an earlier row has too, and the line of that row; None without one."""
    lines: dict[str, int] = {}
    for row in rows:
        if seen.count(row.jobid) > 1:
            if row.jobid in lines:
                return row, lines[row.jobid]
            lines[row.jobid] = row.line
    return None


def _digest(jobid: str) -> int:
    return int.from_bytes(blake2b(encode(jobid), digest_size=8).digest())
